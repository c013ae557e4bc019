-- When the room's newest message was sent: its `created_at`. NULL if it has none, or none since
-- this migration; readers then look at the message. Each append writes the row anyway.
ALTER TABLE rooms ADD COLUMN active_at TEXT;
