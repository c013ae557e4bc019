-- The migration changed nothing.
SELECT 1;
