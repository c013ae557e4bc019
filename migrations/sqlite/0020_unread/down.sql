-- Nothing of this kind is known any more.
DELETE FROM outbox_events WHERE kind = 'messages.unread';

DROP TRIGGER forget_unread;
DROP TABLE unread_rooms;
DROP INDEX outbox_events_unread;
ALTER TABLE outbox_events DROP COLUMN unread_after;
ALTER TABLE outbox_events DROP COLUMN unread_seq;
ALTER TABLE outbox_events DROP COLUMN user_ids;
DROP TRIGGER note_member_of_update;
CREATE TRIGGER note_member_of_update AFTER UPDATE ON members BEGIN
    INSERT INTO member_changes (room_id, user_id, is_membership)
    VALUES (NEW.room_id, NEW.user_id, 1);
END;
DROP INDEX mentions_seq;
DROP INDEX members_behind;
ALTER TABLE members DROP COLUMN read_floor;
