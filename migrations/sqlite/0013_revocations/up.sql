-- The tokens that an operator has revoked: one row for each user. A revocation that is lifted
-- keeps its row, so that the gateway learns of it. Times are UTC, as on the wire.
CREATE TABLE revocations (
    user_id TEXT PRIMARY KEY NOT NULL,
    -- Tokens that were issued before this are refused. NULL: the revocation is lifted.
    issued_before TEXT,
    -- Counts the changes of this row: of two of its states, it tells which one is newer.
    number INTEGER NOT NULL,
    -- When the row was written. The gateway reads what was written lately.
    changed_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_changed_at ON revocations (changed_at);

-- The users whose connections are to be closed, once. Rows are deleted after some minutes.
CREATE TABLE disconnections (
    user_id TEXT PRIMARY KEY NOT NULL,
    -- Larger with every disconnection of this user, also after a row was deleted.
    number INTEGER NOT NULL,
    changed_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX disconnections_changed_at ON disconnections (changed_at);
