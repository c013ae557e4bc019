-- Each message paid for what nothing needs.
--
-- The transaction that stores a message counts it in its room and stores its author:
-- nothing that stores can break these references, and each row paid for looking.
ALTER TABLE messages
    DROP CONSTRAINT messages_room_id_fkey,
    DROP CONSTRAINT messages_user_id_fkey;
ALTER TABLE read_pointers DROP CONSTRAINT read_pointers_room_id_fkey;

-- A message is found by its place in its room. Its id has no index any more: who looks
-- for messages by their ids makes one,
-- CREATE UNIQUE INDEX CONCURRENTLY messages_id ON messages (id).
ALTER TABLE messages
    DROP CONSTRAINT messages_pkey,
    DROP CONSTRAINT messages_room_id_seq,
    ADD CONSTRAINT messages_pkey PRIMARY KEY (room_id, seq);
