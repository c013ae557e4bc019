DROP TRIGGER note_rules_of_update;
DROP TRIGGER note_rules_of_insert;
DROP TABLE rules_changes;
