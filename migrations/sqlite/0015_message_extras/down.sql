DROP TRIGGER forget_mentions_of_delete;
DROP TRIGGER forget_mentions_of_update;
DROP TABLE mentions;
ALTER TABLE messages DROP COLUMN extras;
