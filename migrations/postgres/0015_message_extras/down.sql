DROP FUNCTION append_messages(
    bigint, bigint[], bigint[], bigint[], integer[], bigint[], text[], text[], text[],
    timestamptz[], integer[], text[], bigint[], text[], text[], text[], integer[], text[]
);
DROP TRIGGER forget_mentions_of_delete ON messages;
DROP TRIGGER forget_mentions_of_update ON messages;
DROP FUNCTION forget_mentions;
DROP TABLE mentions;
ALTER TABLE messages DROP COLUMN extras;
