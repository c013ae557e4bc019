DROP FUNCTION append_messages(
    bigint, bigint[], bigint[], bigint[], integer[], bigint[], text[], text[], text[],
    timestamptz[], integer[], text[], bigint[], text[], text[]
);
