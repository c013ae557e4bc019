-- The generation of a room: its number may be used again after the room was deleted. The value is
-- the number of the rules with which the generation begins. While a room is being deleted, it has
-- the generation that follows, which is greater than the number of its rules.
ALTER TABLE rooms ADD COLUMN generation bigint NOT NULL DEFAULT 0;

-- The rooms that are being deleted, and how far. The row of `rooms`, which appends lock, is not
-- locked meanwhile.
CREATE TABLE closed_rooms (
    room_id bigint PRIMARY KEY,
    closed_at timestamptz NOT NULL,
    -- 0: messages. After that, the tables that the function names.
    step integer NOT NULL DEFAULT 0,
    -- Messages up to here are deleted.
    seq bigint NOT NULL DEFAULT 0,
    -- Rows of the step's table up to this user are deleted.
    user_id text COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX closed_rooms_closed_at ON closed_rooms (closed_at, room_id);

-- Closes a room and returns the generation that follows, and whether the room was open; NULL if
-- no room has the number. The next number of its rules keeps appends out, as any change of rules
-- does: they compare it under the lock that is taken here.
CREATE FUNCTION close_room(room bigint, OUT next_generation bigint, OUT was_open boolean)
LANGUAGE plpgsql
AS $$
DECLARE
    newest bigint;
    number bigint;
BEGIN
    was_open := false;
    SELECT last_seq, rules, generation INTO newest, number, next_generation
        FROM rooms WHERE id = room FOR NO KEY UPDATE;
    IF NOT FOUND OR next_generation > number THEN
        RETURN;
    END IF;
    -- What remains of a deleted room is its row alone.
    IF newest = 0 AND NOT EXISTS (SELECT FROM room_settings WHERE room_id = room) THEN
        next_generation := NULL;
        RETURN;
    END IF;
    UPDATE rooms SET rules = rules + 1, generation = rules + 2 WHERE id = room
        RETURNING generation INTO next_generation;
    INSERT INTO closed_rooms (room_id, closed_at) VALUES (room, clock_timestamp());
    was_open := true;
END
$$;

-- Deletes at most so many rows of one closed room, which no other session works on. With the last
-- of them, the next generation of the room begins. Returns NULL if nothing is due.
--
-- It is called in autocommit. Rows are found by what precedes them, and not by searching from the
-- beginning, where each batch would meet all rows that were deleted before.
CREATE FUNCTION delete_closed_batch(
    size bigint,
    OUT room bigint,
    OUT deleted bigint,
    OUT is_first boolean,
    OUT is_last boolean
)
LANGUAGE plpgsql
AS $$
DECLARE
    tables CONSTANT text[] :=
        ARRAY['read_pointers', 'members', 'bans', 'mutes', 'slow_mode_turns'];
    state closed_rooms;
    part bigint;
    next_seq bigint;
    last_user text;
BEGIN
    -- Statements that began before the room was closed have ended by then.
    SELECT * INTO state FROM closed_rooms
        WHERE closed_at < clock_timestamp() - interval '2 seconds'
        ORDER BY closed_at, room_id LIMIT 1
        FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- What a crash undoes is done again.
    PERFORM set_config('synchronous_commit', 'off', true);
    room := state.room_id;
    is_first := state.step = 0 AND state.seq = 0;
    deleted := 0;
    WHILE deleted < size AND state.step <= cardinality(tables) LOOP
        IF state.step = 0 THEN
            next_seq := state.seq + size - deleted;
            DELETE FROM messages WHERE room_id = room AND seq > state.seq AND seq <= next_seq;
            GET DIAGNOSTICS part = ROW_COUNT;
            SELECT min(seq) - 1 INTO state.seq FROM messages
                WHERE room_id = room AND seq > next_seq;
            IF state.seq IS NULL THEN
                state.seq := next_seq;
                state.step := 1;
            END IF;
        ELSE
            EXECUTE format(
                'SELECT max(user_id) FROM (SELECT user_id FROM %I WHERE room_id = $1 '
                'AND user_id > $2 ORDER BY user_id LIMIT $3) AS part',
                tables[state.step]
            ) INTO last_user USING room, state.user_id, size - deleted;
            EXECUTE format(
                'DELETE FROM %I WHERE room_id = $1 AND user_id > $2 AND user_id <= $3',
                tables[state.step]
            ) USING room, state.user_id, last_user;
            GET DIAGNOSTICS part = ROW_COUNT;
            state.user_id := last_user;
            IF part < size - deleted THEN
                state.step := state.step + 1;
                state.user_id := '';
            END IF;
        END IF;
        deleted := deleted + part;
    END LOOP;
    is_last := state.step > cardinality(tables);
    IF is_last THEN
        DELETE FROM room_settings WHERE room_id = room;
        UPDATE rooms SET last_seq = 0, rules = generation WHERE id = room;
        DELETE FROM closed_rooms WHERE room_id = room;
    ELSE
        UPDATE closed_rooms SET step = state.step, seq = state.seq, user_id = state.user_id
            WHERE room_id = room;
    END IF;
END
$$;
