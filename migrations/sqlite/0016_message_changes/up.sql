-- What becomes of messages after they were stored: edits, deletions, reactions.
--
-- The number of a room's newest change. The transaction that makes a change increments it.
ALTER TABLE rooms ADD COLUMN last_rev INTEGER NOT NULL DEFAULT 0;

-- The messages that have changed. The text is in `messages`: an edit replaces it there, and a
-- deletion removes it. Times are UTC, as on the wire.
CREATE TABLE message_changes (
    room_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    -- The number of the message's latest change, and of the one before; 0 without one.
    rev INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    -- edited, deleted, reactions or erased: the latest change.
    kind TEXT NOT NULL,
    -- Who made the latest change. NULL: the product.
    changed_by TEXT,
    edited_at TEXT,
    deleted_at TEXT,
    erased_at TEXT,
    -- [[key, count], ...] in the order in which the keys were first set; NULL without any.
    reactions TEXT,
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX message_changes_rev ON message_changes (room_id, rev);

-- Who has set which reaction. A user may have written nothing, so there is no reference to users.
CREATE TABLE reactions (
    room_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    key TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (room_id, seq, key, user_id)
) STRICT, WITHOUT ROWID;
-- The reactions of one user.
CREATE INDEX reactions_user_id ON reactions (user_id, room_id, seq);

-- The table `rules_changes` also tells which rooms have changes to messages that a process was not
-- notified of.
CREATE TRIGGER note_rev_of_update AFTER UPDATE OF last_rev ON rooms
WHEN NEW.last_rev <> OLD.last_rev BEGIN
    DELETE FROM rules_changes WHERE room_id = NEW.id;
    INSERT INTO rules_changes (room_id) VALUES (NEW.id);
END;

-- How far the reactions of a room have been deleted, together with `seq` and `user_id`.
ALTER TABLE closed_rooms ADD COLUMN key TEXT NOT NULL DEFAULT '';
