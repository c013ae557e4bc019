-- The rooms of one user, for the query of unread counts. Without `seq`, which changes with
-- each message: an update that changes no indexed column writes no index.
CREATE INDEX read_pointers_user_id ON read_pointers (user_id, room_id);
