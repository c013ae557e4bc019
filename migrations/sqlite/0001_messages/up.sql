-- Who has spoken, under the latest name that a token gave.
CREATE TABLE users (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A room's counter: the transaction that stores a message moves it, so that the
-- room's numbers have no holes and follow the order of the commits.
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id > 0),
    last_seq INTEGER NOT NULL CHECK (last_seq > 0)
) STRICT;

CREATE TABLE messages (
    -- AUTOINCREMENT: the number of a deleted message is not given again.
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    room_id INTEGER NOT NULL REFERENCES rooms (id),
    seq INTEGER NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    content TEXT NOT NULL,
    -- Picked by the sender; NULL if it picked none.
    client_message_id TEXT,
    -- UTC, as on the wire: 2026-01-31T12:00:00.000Z
    created_at TEXT NOT NULL,
    CONSTRAINT messages_room_id_seq UNIQUE (room_id, seq)
) STRICT;
