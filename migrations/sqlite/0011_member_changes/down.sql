DROP TRIGGER note_member_of_delete;
DROP TRIGGER note_member_of_update;
DROP TRIGGER note_member_of_insert;
DROP TABLE member_changes;
