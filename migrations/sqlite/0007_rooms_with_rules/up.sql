-- A room may have rules before its first message, so its counter may be 0.
--
-- SQLite cannot alter this constraint. A copy of the table under its name would lose the
-- triggers that others have added, and would check the references of every message twice.
-- Therefore its definition is edited, as SQLite's documentation of ALTER TABLE describes it
-- for such constraints. No stored row depends on it. The statements after that change the
-- schema, too, so that the other connections read it again.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (last_seq > 0)', 'CHECK (last_seq >= 0)')
    WHERE type = 'table' AND name = 'rooms';
PRAGMA writable_schema = RESET;

-- The settings of a room with rules. They are not in `rooms`, because each message rewrites
-- that row. The number of the rules is there: whatever changes one of the tables below,
-- except for turns, increments it in the same transaction. Times are UTC, as on the wire.
CREATE TABLE room_settings (
    room_id INTEGER PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    name TEXT,
    frozen INTEGER NOT NULL,
    slow_mode_seconds INTEGER NOT NULL,
    -- A JSON object, as it was given.
    metadata TEXT NOT NULL,
    created_at TEXT NOT NULL,
    -- The rows of `members`.
    member_count INTEGER NOT NULL,
    owner_count INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
    room_id INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    notify TEXT NOT NULL DEFAULT 'all',
    joined_at TEXT NOT NULL,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;
-- The rooms of one user.
CREATE INDEX members_user_id ON members (user_id, room_id);

-- NULL: until it is lifted. A row whose time has passed means nothing.
CREATE TABLE bans (
    room_id INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    until TEXT,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE mutes (
    room_id INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    until TEXT,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;

-- From when on a user may write again in a room with slow mode.
CREATE TABLE slow_mode_turns (
    room_id INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    due_at TEXT NOT NULL,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;
