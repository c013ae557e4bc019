-- What a message carries besides its text, as JSON, or NULL.
ALTER TABLE messages ADD COLUMN extras text;
