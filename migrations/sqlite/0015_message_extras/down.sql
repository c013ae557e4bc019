ALTER TABLE messages DROP COLUMN extras;
