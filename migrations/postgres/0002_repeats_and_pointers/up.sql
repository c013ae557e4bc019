-- Who picked an id for a message finds the stored one by it, for as long as the
-- message exists.
CREATE UNIQUE INDEX messages_client_message_id
    ON messages (room_id, user_id, client_message_id)
    WHERE client_message_id IS NOT NULL;

-- How far a user has read a room. Readers need not have spoken: there is no
-- reference to users.
CREATE TABLE read_pointers (
    room_id bigint NOT NULL REFERENCES rooms (id),
    user_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    PRIMARY KEY (room_id, user_id)
);
