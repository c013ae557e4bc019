-- Removes costs of each message that nothing needs.
--
-- The transaction that stores a message increments its room's counter and stores its
-- author, so that no insert can violate these references; yet each row was checked.
ALTER TABLE messages
    DROP CONSTRAINT messages_room_id_fkey,
    DROP CONSTRAINT messages_user_id_fkey;
ALTER TABLE read_pointers DROP CONSTRAINT read_pointers_room_id_fkey;

-- A message is found by its position in its room. Its id is no longer indexed; a backend
-- that searches by id can create an index:
-- CREATE UNIQUE INDEX CONCURRENTLY messages_id ON messages (id).
ALTER TABLE messages
    DROP CONSTRAINT messages_pkey,
    DROP CONSTRAINT messages_room_id_seq,
    ADD CONSTRAINT messages_pkey PRIMARY KEY (room_id, seq);
