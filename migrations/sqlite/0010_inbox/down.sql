ALTER TABLE rooms DROP COLUMN active_at;
