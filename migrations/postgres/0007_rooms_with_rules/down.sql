DROP TRIGGER note_update ON rooms;
CREATE TRIGGER note_update AFTER UPDATE ON rooms FOR EACH ROW
    WHEN (NEW.last_seq <> OLD.last_seq
        AND current_setting('chat.notes_changes', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_room_change();
-- Without a message, a room does not exist again.
DELETE FROM rooms WHERE last_seq = 0;
UPDATE rooms SET rules = 0 WHERE rules <> 0;
ALTER TABLE rooms
    DROP CONSTRAINT rooms_last_seq_check,
    ADD CONSTRAINT rooms_last_seq_check CHECK (last_seq > 0) NOT VALID;

DROP FUNCTION take_turn;
DROP FUNCTION change_room;
DROP TABLE slow_mode_turns;
DROP TABLE mutes;
DROP TABLE bans;
DROP TABLE members;
DROP TABLE room_settings;
