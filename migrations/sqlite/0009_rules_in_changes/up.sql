-- Which room's rules changed when: a process finds the changes that it was not notified of.
-- Messages need no such table, because their ids show what is new.
CREATE TABLE rules_changes (
    -- AUTOINCREMENT: a later change has a larger number, also after rows were deleted.
    number INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    -- A room has one row, that of its latest change.
    room_id INTEGER NOT NULL UNIQUE
) STRICT;

-- A trigger's conflict clause would give way to that of the statement that fires it.
CREATE TRIGGER note_rules_of_insert AFTER INSERT ON rooms WHEN NEW.rules <> 0 BEGIN
    DELETE FROM rules_changes WHERE room_id = NEW.id;
    INSERT INTO rules_changes (room_id) VALUES (NEW.id);
END;
CREATE TRIGGER note_rules_of_update AFTER UPDATE OF rules ON rooms
WHEN NEW.rules <> OLD.rules BEGIN
    DELETE FROM rules_changes WHERE room_id = NEW.id;
    INSERT INTO rules_changes (room_id) VALUES (NEW.id);
END;
