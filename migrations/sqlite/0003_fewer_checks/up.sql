-- Nothing here: PostgreSQL's tables lose their references in this step, since each
-- row paid for them. SQLite looks them up in the pages that it has in hand anyway,
-- and could only drop them by copying the tables.
SELECT 1;
