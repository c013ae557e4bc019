-- Whose membership, role or read pointer has changed when: a process finds the changes that it
-- was not notified of. What marks pointers as read adds its rows itself: a trigger on
-- `read_pointers` would also run for each message.
CREATE TABLE member_changes (
    -- AUTOINCREMENT: a later change has a larger number, also after rows were deleted.
    number INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    room_id INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    -- Whether the membership has begun, changed or ended; otherwise the read pointer has moved.
    is_membership INTEGER NOT NULL
) STRICT;

-- The latest 50,000 are kept. For a process that is further behind, the changes are unknown.
CREATE TRIGGER prune_member_changes AFTER INSERT ON member_changes BEGIN
    DELETE FROM member_changes WHERE number <= NEW.number - 50000;
END;

CREATE TRIGGER note_member_of_insert AFTER INSERT ON members BEGIN
    INSERT INTO member_changes (room_id, user_id, is_membership)
    VALUES (NEW.room_id, NEW.user_id, 1);
END;
CREATE TRIGGER note_member_of_update AFTER UPDATE ON members BEGIN
    INSERT INTO member_changes (room_id, user_id, is_membership)
    VALUES (NEW.room_id, NEW.user_id, 1);
END;
CREATE TRIGGER note_member_of_delete AFTER DELETE ON members BEGIN
    INSERT INTO member_changes (room_id, user_id, is_membership)
    VALUES (OLD.room_id, OLD.user_id, 1);
END;
