-- Changes nothing. On PostgreSQL, this migration adds a function that compares the number of a
-- room's rules when it stores messages. On SQLite, a statement of the gateway does.
SELECT 1;
