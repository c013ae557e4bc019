-- Deleted messages stay empty, and edited ones keep their latest text.
ALTER TABLE closed_rooms DROP COLUMN key;
DROP TRIGGER note_rev_of_update;
DROP TABLE reactions;
DROP TABLE message_changes;
ALTER TABLE rooms DROP COLUMN last_rev;
