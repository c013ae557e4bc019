-- A room that is being deleted exists again, with what is left of it.
DROP FUNCTION delete_closed_batch;
DROP FUNCTION close_room;
DROP TABLE closed_rooms;
ALTER TABLE rooms DROP COLUMN generation;
