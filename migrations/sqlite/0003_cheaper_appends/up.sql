-- Nothing here: PostgreSQL's tables lose their references and an index in this step,
-- since each row paid for them. SQLite looks the references up in pages that it has in
-- hand anyway, could only drop them by copying the tables, and keeps no index for ids.
SELECT 1;
