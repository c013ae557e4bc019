-- The number of the rules that apply to the room, for the check that stores a message only
-- under the rules that it was decided by. 0: no rules.
ALTER TABLE rooms ADD COLUMN rules INTEGER NOT NULL DEFAULT 0;
