-- The generation of a room: its number may be used again after the room was deleted. The value is
-- the number of the rules with which the generation begins. While a room is being deleted, it has
-- the generation that follows, which is greater than the number of its rules.
ALTER TABLE rooms ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

-- The rooms that are being deleted, and how far.
CREATE TABLE closed_rooms (
    room_id INTEGER PRIMARY KEY NOT NULL,
    -- UTC, as on the wire.
    closed_at TEXT NOT NULL,
    -- 0: messages. After that, the tables that the gateway names.
    step INTEGER NOT NULL DEFAULT 0,
    -- Messages up to here are deleted.
    seq INTEGER NOT NULL DEFAULT 0,
    -- Rows of the step's table up to this user are deleted.
    user_id TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX closed_rooms_closed_at ON closed_rooms (closed_at, room_id);
