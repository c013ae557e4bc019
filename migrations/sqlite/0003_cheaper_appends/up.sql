-- Changes nothing. On PostgreSQL, this migration drops references and an index that each
-- row had to pay for. SQLite checks references in pages that are in its cache anyway, could
-- drop them only by copying the tables, and has no separate index for ids.
SELECT 1;
