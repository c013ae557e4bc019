-- A room that is being deleted exists again, with what is left of it.
DROP TABLE closed_rooms;
ALTER TABLE rooms DROP COLUMN generation;
