DROP INDEX read_pointers_user_id;
