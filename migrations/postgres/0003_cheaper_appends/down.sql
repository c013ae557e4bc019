ALTER TABLE messages
    DROP CONSTRAINT messages_pkey,
    ADD CONSTRAINT messages_room_id_seq UNIQUE (room_id, seq),
    ADD CONSTRAINT messages_pkey PRIMARY KEY (id);
ALTER TABLE messages
    ADD CONSTRAINT messages_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (id),
    ADD CONSTRAINT messages_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id);
ALTER TABLE read_pointers
    ADD CONSTRAINT read_pointers_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (id);
