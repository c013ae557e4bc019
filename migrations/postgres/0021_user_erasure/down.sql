DROP FUNCTION finish_user_erasure;
DROP FUNCTION erase_user_batch;
CREATE OR REPLACE FUNCTION forget_mentions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    DELETE FROM mentions
    WHERE room_id = OLD.room_id AND seq = OLD.seq AND user_id = ANY (
        ARRAY(SELECT json_array_elements_text(OLD.extras::json -> 'mentions'))
    );
    RETURN NULL;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;
DROP FUNCTION extras_without_mention;
DROP FUNCTION parts_of_extras;
DROP INDEX outbox_events_changed_by;
DROP INDEX outbox_events_user_id;
DROP INDEX mentions_user_id;
DROP INDEX message_changes_changed_by;
DROP INDEX slow_mode_turns_user_id;
DROP INDEX mutes_user_id;
DROP INDEX bans_user_id;
DROP TABLE user_erasures;
