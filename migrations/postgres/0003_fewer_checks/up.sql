-- The transaction that stores a message counts it in its room and stores its author:
-- nothing that stores can break these references, and each row paid for looking.
ALTER TABLE messages
    DROP CONSTRAINT messages_room_id_fkey,
    DROP CONSTRAINT messages_user_id_fkey;
ALTER TABLE read_pointers DROP CONSTRAINT read_pointers_room_id_fkey;
