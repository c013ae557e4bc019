-- The webhook messages.unread: some time after a message was stored, the members who have not read
-- it are reported. As on PostgreSQL, except that there is no log to sort: a batch writes what waits
-- and the bounds directly.

-- At most the member's read pointer.
ALTER TABLE members ADD COLUMN read_floor INTEGER NOT NULL DEFAULT 0;
CREATE INDEX members_behind ON members (room_id, read_floor, user_id) WHERE notify = 'all';
-- The mentions in a range of messages. A message without mentions does not write it.
CREATE INDEX mentions_seq ON mentions (room_id, seq, user_id);

-- A bound is not a change that others are to learn of.
DROP TRIGGER note_member_of_update;
CREATE TRIGGER note_member_of_update AFTER UPDATE OF role, notify, joined_at ON members BEGIN
    INSERT INTO member_changes (room_id, user_id, is_membership)
    VALUES (NEW.room_id, NEW.user_id, 1);
END;

-- For messages.unread: the members, at most 1000, as a JSON array. The report is about messages after
-- unread_after, up to unread_seq.
ALTER TABLE outbox_events ADD COLUMN unread_after INTEGER;
ALTER TABLE outbox_events ADD COLUMN unread_seq INTEGER;
ALTER TABLE outbox_events ADD COLUMN user_ids TEXT;
CREATE INDEX outbox_events_unread ON outbox_events (room_id) WHERE kind = 'messages.unread';

-- The rooms with messages whose report is due later: about `seq` at a time after `stored_at`, and then
-- about `newest_seq`, which stands for everything that was stored in between.
CREATE TABLE unread_rooms (
    room_id INTEGER PRIMARY KEY NOT NULL,
    -- What precedes is reported already.
    after INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    stored_at TEXT NOT NULL,
    newest_seq INTEGER NOT NULL,
    newest_at TEXT NOT NULL,
    -- The room waits for a repetition of a call that failed.
    is_blocked INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX unread_rooms_stored_at ON unread_rooms (stored_at) WHERE is_blocked = 0;

CREATE TRIGGER forget_unread AFTER DELETE ON closed_rooms BEGIN
    DELETE FROM unread_rooms WHERE room_id = OLD.room_id;
END;
