-- Changes nothing. On PostgreSQL, this migration adds a table of recent changes. On SQLite,
-- where transactions that write follow each other, the ids of messages show what is new.
SELECT 1;
