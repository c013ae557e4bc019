-- Deleted messages stay empty, and edited ones keep their latest text.
CREATE OR REPLACE FUNCTION delete_closed_batch(
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
ALTER TABLE closed_rooms DROP COLUMN key;

CREATE OR REPLACE FUNCTION note_room_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO room_changes (room_ids, bases, counts, rules)
    VALUES (ARRAY[NEW.id], ARRAY[NEW.last_seq], ARRAY[0], ARRAY[NEW.rules]);
    RETURN NULL;
END
$$;
DROP TRIGGER note_update ON rooms;
CREATE TRIGGER note_update AFTER UPDATE ON rooms FOR EACH ROW
    WHEN ((NEW.last_seq <> OLD.last_seq OR NEW.rules <> OLD.rules)
        AND current_setting('chat.notes_changes', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_room_change();

DROP FUNCTION room_changes_since;
CREATE FUNCTION room_changes_since(
    INOUT server timestamptz,
    INOUT snapshot pg_snapshot,
    OUT ids bigint[],
    OUT seqs bigint[],
    OUT numbers bigint[],
    OUT member_rooms bigint[],
    OUT member_users text[],
    -- Whether the membership has changed, not only the read pointer.
    OUT memberships boolean[]
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    earlier CONSTANT pg_snapshot := snapshot;
    pruned pg_snapshot;
BEGIN
    -- Every role may call the function.
    IF NOT has_table_privilege(session_user, 'rooms', 'SELECT') THEN
        RAISE insufficient_privilege USING MESSAGE = 'permission denied for table rooms';
    END IF;
    SELECT state.pruned INTO pruned FROM room_changes_pruning AS state;
    IF server = pg_postmaster_start_time()
        AND pg_snapshot_xmax(pruned) <= pg_snapshot_xmax(earlier)
        AND NOT EXISTS (
            SELECT FROM pg_snapshot_xip(earlier) AS xid
            WHERE pg_visible_in_snapshot(xid, pruned)
        )
    THEN
        SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(seq), '{}'),
            coalesce(array_agg(number), '{}')
        INTO ids, seqs, numbers
        FROM (
            SELECT id, max(base + count) AS seq, coalesce(max(number), 0) AS number
            FROM room_changes,
                unnest(room_ids, bases, counts, rules) AS change (id, base, count, number)
            WHERE (xid >= pg_snapshot_xmax(earlier)
                    OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(earlier))))
                AND base >= 0
            GROUP BY id
        ) AS change;
        SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(user_id), '{}'),
            coalesce(array_agg(is_membership), '{}')
        INTO member_rooms, member_users, memberships
        FROM (
            SELECT id, user_id, coalesce(bool_or(base = -2), false) AS is_membership
            FROM room_changes, unnest(room_ids, bases, user_ids) AS change (id, base, user_id)
            WHERE (xid >= pg_snapshot_xmax(earlier)
                    OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(earlier))))
                AND user_ids IS NOT NULL AND id IS NOT NULL AND user_id IS NOT NULL
            GROUP BY id, user_id
        ) AS change;
    END IF;
    server := pg_postmaster_start_time();
    snapshot := pg_current_snapshot();
END
$$;
ALTER TABLE room_changes DROP COLUMN revs;

DROP FUNCTION change_message;
DROP TABLE reactions;
DROP TABLE message_changes;
ALTER TABLE rooms DROP COLUMN last_rev;
