-- The users whose erasure was requested, and how far it has come. A row is deleted together with the
-- last trace of its user.
CREATE TABLE user_erasures (
    user_id TEXT PRIMARY KEY NOT NULL,
    -- keep or erase: what becomes of the user's messages.
    messages TEXT NOT NULL,
    -- UTC, as on the wire.
    requested_at TEXT NOT NULL,
    -- 0: memberships, bans, mutes and turns. 1: reactions. 2: changes of messages. 3: mentions.
    -- 4: messages and read pointers, room by room. 5: only what closes the user's connections is
    -- left.
    step INTEGER NOT NULL DEFAULT 0,
    -- In step 4: the room, and up to where its messages are done.
    room_id INTEGER NOT NULL DEFAULT 0,
    seq INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX user_erasures_requested_at ON user_erasures (requested_at, user_id);

-- Where a user is banned, muted, mentioned or has to wait, and which messages a user was the last to
-- change. Of these rows, appends write only mentions and turns in slow mode.
CREATE INDEX bans_user_id ON bans (user_id, room_id);
CREATE INDEX mutes_user_id ON mutes (user_id, room_id);
CREATE INDEX slow_mode_turns_user_id ON slow_mode_turns (user_id, room_id);
CREATE INDEX message_changes_changed_by ON message_changes (changed_by, room_id, seq)
    WHERE changed_by IS NOT NULL;
CREATE INDEX mentions_user_id ON mentions (user_id, room_id, seq);

-- Which webhooks wait that name a user. Those about messages name none.
CREATE INDEX outbox_events_user_id ON outbox_events (user_id) WHERE kind = 'member.changed';
CREATE INDEX outbox_events_changed_by ON outbox_events (changed_by) WHERE changed_by IS NOT NULL;

-- As in 0015_message_extras, but the mentions that remain are not deleted.
DROP TRIGGER forget_mentions_of_update;
CREATE TRIGGER forget_mentions_of_update AFTER UPDATE OF extras ON messages
WHEN OLD.extras IS NOT NULL AND json_valid(OLD.extras) BEGIN
    DELETE FROM mentions WHERE room_id = OLD.room_id AND seq = OLD.seq
        AND user_id IN (SELECT value FROM json_each(OLD.extras, '$.mentions'))
        AND user_id NOT IN (
            SELECT value
            FROM json_each(CASE WHEN json_valid(NEW.extras) THEN NEW.extras END, '$.mentions')
        );
END;
