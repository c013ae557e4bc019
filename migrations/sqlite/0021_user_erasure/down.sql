DROP TRIGGER forget_mentions_of_update;
CREATE TRIGGER forget_mentions_of_update AFTER UPDATE OF extras ON messages
WHEN OLD.extras IS NOT NULL AND json_valid(OLD.extras) BEGIN
    DELETE FROM mentions WHERE room_id = OLD.room_id AND seq = OLD.seq
        AND user_id IN (SELECT value FROM json_each(OLD.extras, '$.mentions'));
END;
DROP INDEX outbox_events_changed_by;
DROP INDEX outbox_events_user_id;
DROP INDEX mentions_user_id;
DROP INDEX message_changes_changed_by;
DROP INDEX slow_mode_turns_user_id;
DROP INDEX mutes_user_id;
DROP INDEX bans_user_id;
DROP TABLE user_erasures;
