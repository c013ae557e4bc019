-- A sender that chose an id for a message finds the stored message by it, as long as the
-- message exists.
CREATE UNIQUE INDEX messages_client_message_id
    ON messages (room_id, user_id, client_message_id)
    WHERE client_message_id IS NOT NULL;

-- How far a user has read a room. A reader may have written nothing, so there is no
-- reference to users.
CREATE TABLE read_pointers (
    room_id bigint NOT NULL REFERENCES rooms (id),
    user_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    PRIMARY KEY (room_id, user_id)
);
