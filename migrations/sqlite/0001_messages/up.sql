-- The authors of messages, each under the name in the latest token that sent one.
CREATE TABLE users (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A room's counter. The transaction that stores a message increments it, so that the
-- room's positions have no gaps and follow the order of the commits.
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id > 0),
    last_seq INTEGER NOT NULL CHECK (last_seq > 0)
) STRICT;

CREATE TABLE messages (
    -- AUTOINCREMENT: the id of a deleted message is not assigned again.
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    room_id INTEGER NOT NULL REFERENCES rooms (id),
    seq INTEGER NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    content TEXT NOT NULL,
    -- The id that the sender chose, or NULL.
    client_message_id TEXT,
    -- UTC, as on the wire: 2026-01-31T12:00:00.000Z
    created_at TEXT NOT NULL,
    CONSTRAINT messages_room_id_seq UNIQUE (room_id, seq)
) STRICT;
