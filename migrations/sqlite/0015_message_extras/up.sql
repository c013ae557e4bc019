-- What a message carries besides its text: the object of its `replyTo`, `mentions` and `metadata`
-- in their form on the wire, in this order and without spaces, or NULL.
ALTER TABLE messages ADD COLUMN extras TEXT;

-- The mentions in `extras`, to count a user's unread ones. A message without any has no row.
CREATE TABLE mentions (
    room_id INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (room_id, user_id, seq)
) STRICT, WITHOUT ROWID;

-- A mention ends with the message, whatever removes it. Extras that another program has spoiled
-- keep no message.
CREATE TRIGGER forget_mentions_of_update AFTER UPDATE OF extras ON messages
WHEN OLD.extras IS NOT NULL AND json_valid(OLD.extras) BEGIN
    DELETE FROM mentions WHERE room_id = OLD.room_id AND seq = OLD.seq
        AND user_id IN (SELECT value FROM json_each(OLD.extras, '$.mentions'));
END;
CREATE TRIGGER forget_mentions_of_delete AFTER DELETE ON messages
WHEN OLD.extras IS NOT NULL AND json_valid(OLD.extras) BEGIN
    DELETE FROM mentions WHERE room_id = OLD.room_id AND seq = OLD.seq
        AND user_id IN (SELECT value FROM json_each(OLD.extras, '$.mentions'));
END;
