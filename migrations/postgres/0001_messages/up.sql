-- Who has spoken, under the latest name that a token gave.
CREATE TABLE users (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL
);

-- A room's counter: the transaction that stores a message moves it, so that the
-- room's numbers have no holes and follow the order of the commits.
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
    -- Picked by the sender; NULL if it picked none.
    client_message_id text COLLATE "C",
    created_at timestamptz NOT NULL,
    CONSTRAINT messages_room_id_seq UNIQUE (room_id, seq)
);
