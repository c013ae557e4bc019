-- The tokens that an operator has revoked: one row for each user. A revocation that is lifted
-- keeps its row, so that every node learns of it.
CREATE TABLE revocations (
    user_id text COLLATE "C" PRIMARY KEY,
    -- Tokens that were issued before this are refused. NULL: the revocation is lifted.
    issued_before timestamptz,
    -- Counts the changes of this row: of two of its states, it tells which one is newer.
    number bigint NOT NULL,
    -- When the row was written. Nodes read what was written lately.
    changed_at timestamptz NOT NULL
);
CREATE INDEX revocations_changed_at ON revocations (changed_at);

-- The users whose connections are to be closed, once. Rows are deleted after some minutes.
CREATE TABLE disconnections (
    user_id text COLLATE "C" PRIMARY KEY,
    -- Larger with every disconnection of this user, also after a row was deleted.
    number bigint NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX disconnections_changed_at ON disconnections (changed_at);
