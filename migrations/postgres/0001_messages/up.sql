-- The authors of messages, each under the name in the latest token that sent one.
CREATE TABLE users (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL
);

-- A room's counter. The transaction that stores a message increments it, so that the
-- room's positions have no gaps and follow the order of the commits.
CREATE TABLE rooms (
    id bigint PRIMARY KEY CHECK (id > 0),
    last_seq bigint NOT NULL CHECK (last_seq > 0)
);

CREATE TABLE messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id bigint NOT NULL REFERENCES rooms (id),
    seq bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL REFERENCES users (id),
    content text NOT NULL,
    -- The id that the sender chose, or NULL.
    client_message_id text COLLATE "C",
    created_at timestamptz NOT NULL,
    CONSTRAINT messages_room_id_seq UNIQUE (room_id, seq)
);
