-- What becomes of messages after they were stored: edits, deletions, reactions.
--
-- The number of a room's newest change. It is taken under the lock of the row, as the positions of
-- messages are. The column is not indexed: taking a number writes no index (HOT).
ALTER TABLE rooms ADD COLUMN last_rev bigint NOT NULL DEFAULT 0;

-- The messages that have changed. The text is in `messages`: an edit replaces it there, and a
-- deletion removes it.
CREATE TABLE message_changes (
    room_id bigint NOT NULL,
    seq bigint NOT NULL,
    -- The number of the message's latest change, and of the one before; 0 without one.
    rev bigint NOT NULL,
    previous bigint NOT NULL,
    -- edited, deleted, reactions or erased: the latest change.
    kind text NOT NULL,
    -- Who made the latest change. NULL: the product.
    changed_by text COLLATE "C",
    edited_at timestamptz,
    deleted_at timestamptz,
    erased_at timestamptz,
    -- [[key, count], ...] in the order in which the keys were first set; NULL without any.
    reactions text,
    PRIMARY KEY (room_id, seq)
);
CREATE UNIQUE INDEX message_changes_rev ON message_changes (room_id, rev);

-- Who has set which reaction. A user may have written nothing, so there is no reference to users.
CREATE TABLE reactions (
    room_id bigint NOT NULL,
    seq bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (room_id, seq, key, user_id)
);
-- The reactions of one user.
CREATE INDEX reactions_user_id ON reactions (user_id, room_id, seq);

-- Changes a message, if the room has this number of rules, and returns the message in its newest
-- state. It is called in autocommit.
--
-- Locks: the room, as append_messages does. No other change of the room is in progress then, and
-- each statement after it sees what was committed before. A change writes nothing if the message
-- is already so.
CREATE FUNCTION change_message(
    room bigint,
    place bigint,
    decided_by bigint,
    -- edited, deleted, reactions or erased.
    change text,
    -- For edited.
    new_content text,
    -- For reactions.
    reacting text,
    reaction text,
    is_on boolean,
    max_reactions integer,
    -- NULL: the product.
    changer text,
    -- changed, unchanged, or why it was refused: rules_changed, not_found, message_deleted or
    -- too_many_reactions. The columns after it are the message, unless the change was refused.
    OUT outcome text,
    OUT message_id bigint,
    OUT message_seq bigint,
    OUT author_id text,
    OUT author_name text,
    OUT content text,
    OUT extras text,
    OUT client_message_id text,
    OUT created_at timestamptz,
    OUT rev bigint,
    OUT edited_at timestamptz,
    OUT deleted_at timestamptz,
    OUT erased_at timestamptz,
    OUT reactions text
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    number bigint;
    message messages;
    state message_changes;
    keys text[];
    counts bigint[];
    at integer;
    moment timestamptz;
BEGIN
    SELECT rules INTO number FROM rooms WHERE id = room FOR NO KEY UPDATE;
    IF coalesce(number, 0) <> decided_by THEN
        outcome := 'rules_changed';
        RETURN;
    END IF;
    SELECT * INTO message FROM messages WHERE room_id = room AND seq = place;
    IF NOT FOUND THEN
        outcome := 'not_found';
        RETURN;
    END IF;
    SELECT * INTO state FROM message_changes WHERE room_id = room AND seq = place;
    -- Not before the room is locked.
    moment := clock_timestamp();
    outcome := 'changed';
    IF state.deleted_at IS NOT NULL OR state.erased_at IS NOT NULL THEN
        IF change = 'edited' OR change = 'reactions' THEN
            outcome := 'message_deleted';
            RETURN;
        ELSIF change = 'deleted' OR state.erased_at IS NOT NULL THEN
            outcome := 'unchanged';
        END IF;
    ELSIF change = 'edited' THEN
        IF message.content = new_content THEN
            outcome := 'unchanged';
        END IF;
    ELSIF change = 'reactions' THEN
        IF is_on = EXISTS (
            SELECT FROM reactions
            WHERE room_id = room AND seq = place AND key = reaction AND user_id = reacting
        ) THEN
            outcome := 'unchanged';
        ELSE
            SELECT array_agg(item ->> 0 ORDER BY nth), array_agg((item ->> 1)::bigint ORDER BY nth)
                INTO keys, counts
                FROM json_array_elements(state.reactions::json) WITH ORDINALITY AS one (item, nth);
            at := array_position(keys, reaction);
            IF is_on AND at IS NULL AND cardinality(keys) >= max_reactions THEN
                outcome := 'too_many_reactions';
                RETURN;
            END IF;
        END IF;
    END IF;

    IF outcome = 'changed' THEN
        UPDATE rooms SET last_rev = last_rev + 1 WHERE id = room RETURNING last_rev INTO number;
        IF change = 'edited' THEN
            UPDATE messages SET content = new_content WHERE room_id = room AND seq = place
                RETURNING * INTO message;
            state.edited_at := moment;
        ELSIF change = 'reactions' THEN
            IF is_on THEN
                INSERT INTO reactions (room_id, seq, key, user_id, created_at)
                    VALUES (room, place, reaction, reacting, moment);
            ELSE
                DELETE FROM reactions
                    WHERE room_id = room AND seq = place AND key = reaction
                        AND user_id = reacting;
            END IF;
            IF at IS NOT NULL THEN
                counts[at] := counts[at] + CASE WHEN is_on THEN 1 ELSE -1 END;
            ELSIF is_on THEN
                keys := array_append(keys, reaction);
                counts := array_append(counts, 1::bigint);
            END IF;
            SELECT json_agg(json_build_array(key, amount) ORDER BY nth)::text
                INTO state.reactions
                FROM unnest(keys, counts) WITH ORDINALITY AS one (key, amount, nth)
                WHERE amount > 0;
        ELSE
            IF change = 'deleted' THEN
                -- To which message it replies is not removed.
                UPDATE messages
                    SET content = '',
                        extras = '{' || substring(message.extras from '^{("replyTo":[0-9]+)[,}]')
                            || '}'
                    WHERE room_id = room AND seq = place
                    RETURNING * INTO message;
                state.deleted_at := moment;
            ELSE
                UPDATE messages
                    SET user_id = 'deleted', content = '', extras = NULL, client_message_id = NULL
                    WHERE room_id = room AND seq = place
                    RETURNING * INTO message;
                state.edited_at := NULL;
                state.deleted_at := NULL;
                state.erased_at := moment;
            END IF;
            DELETE FROM reactions WHERE room_id = room AND seq = place;
            state.reactions := NULL;
        END IF;
        INSERT INTO message_changes AS known (room_id, seq, rev, previous, kind, changed_by,
                edited_at, deleted_at, erased_at, reactions)
            VALUES (room, place, number, 0, change, changer, state.edited_at, state.deleted_at,
                state.erased_at, state.reactions)
            ON CONFLICT (room_id, seq) DO UPDATE
            SET rev = excluded.rev, previous = known.rev, kind = excluded.kind,
                changed_by = excluded.changed_by, edited_at = excluded.edited_at,
                deleted_at = excluded.deleted_at, erased_at = excluded.erased_at,
                reactions = excluded.reactions;
        state.rev := number;
    END IF;

    message_id := message.id;
    message_seq := message.seq;
    author_id := message.user_id;
    SELECT name INTO author_name FROM users WHERE id = message.user_id;
    content := message.content;
    extras := message.extras;
    client_message_id := message.client_message_id;
    created_at := message.created_at;
    rev := state.rev;
    edited_at := state.edited_at;
    deleted_at := state.deleted_at;
    erased_at := state.erased_at;
    reactions := state.reactions;
END
$$;

-- Nodes also find the changes to messages that they were not notified of.
--
-- The numbers of the rooms' newest changes. NULL in the row of a batch of messages: it makes none,
-- and must not cost more.
ALTER TABLE room_changes ADD COLUMN revs bigint[];
GRANT INSERT (revs) ON room_changes TO PUBLIC;

CREATE OR REPLACE FUNCTION note_room_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO room_changes (room_ids, bases, counts, rules, revs)
    VALUES (ARRAY[NEW.id], ARRAY[NEW.last_seq], ARRAY[0], ARRAY[NEW.rules], ARRAY[NEW.last_rev]);
    RETURN NULL;
END
$$;
DROP TRIGGER note_update ON rooms;
CREATE TRIGGER note_update AFTER UPDATE ON rooms FOR EACH ROW
    WHEN ((NEW.last_seq <> OLD.last_seq OR NEW.rules <> OLD.rules OR NEW.last_rev <> OLD.last_rev)
        AND current_setting('chat.notes_changes', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_room_change();

-- As before, with the numbers of the changes to messages: 0 if none is known.
DROP FUNCTION room_changes_since;
CREATE FUNCTION room_changes_since(
    INOUT server timestamptz,
    INOUT snapshot pg_snapshot,
    OUT ids bigint[],
    OUT seqs bigint[],
    OUT numbers bigint[],
    OUT revs bigint[],
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
            coalesce(array_agg(number), '{}'), coalesce(array_agg(rev), '{}')
        INTO ids, seqs, numbers, revs
        FROM (
            SELECT id, max(base + count) AS seq, coalesce(max(number), 0) AS number,
                coalesce(max(rev), 0) AS rev
            FROM room_changes,
                unnest(room_ids, bases, counts, rules, revs)
                    AS change (id, base, count, number, rev)
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

-- How far the reactions of a room have been deleted, together with `seq` and `user_id`.
ALTER TABLE closed_rooms ADD COLUMN key text COLLATE "C" NOT NULL DEFAULT '';

-- As before, with the changes and the reactions.
--
-- Deletes at most so many rows of one closed room, which no other session works on. With the last
-- of them, the next generation of the room begins. Returns NULL if nothing is due.
--
-- It is called in autocommit. Rows are found by what precedes them, and not by searching from the
-- beginning, where each batch would meet all rows that were deleted before.
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
    -- The steps after those of the tables.
    changes CONSTANT integer := cardinality(tables) + 1;
    reactions CONSTANT integer := cardinality(tables) + 2;
    state closed_rooms;
    part bigint;
    next_seq bigint;
    last_user text;
    last_reaction record;
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
    WHILE deleted < size AND state.step <= reactions LOOP
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
        ELSIF state.step = changes THEN
            next_seq := state.seq + size - deleted;
            DELETE FROM message_changes
                WHERE room_id = room AND seq > state.seq AND seq <= next_seq;
            GET DIAGNOSTICS part = ROW_COUNT;
            SELECT min(seq) - 1 INTO state.seq FROM message_changes
                WHERE room_id = room AND seq > next_seq;
            IF state.seq IS NULL THEN
                state.seq := 0;
                state.step := reactions;
            END IF;
        ELSIF state.step = reactions THEN
            -- One message may have more of them than a batch deletes.
            SELECT seq, key, user_id INTO last_reaction
                FROM (
                    SELECT seq, key, user_id FROM reactions
                    WHERE room_id = room
                        AND (seq, key, user_id) > (state.seq, state.key, state.user_id)
                    ORDER BY seq, key, user_id LIMIT size - deleted
                ) AS part
                ORDER BY seq DESC, key DESC, user_id DESC LIMIT 1;
            DELETE FROM reactions
                WHERE room_id = room
                    AND (seq, key, user_id) > (state.seq, state.key, state.user_id)
                    AND (seq, key, user_id)
                        <= (last_reaction.seq, last_reaction.key, last_reaction.user_id);
            GET DIAGNOSTICS part = ROW_COUNT;
            IF part < size - deleted THEN
                state.step := state.step + 1;
            ELSE
                state.seq := last_reaction.seq;
                state.key := last_reaction.key;
                state.user_id := last_reaction.user_id;
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
                state.seq := 0;
            END IF;
        END IF;
        deleted := deleted + part;
    END LOOP;
    is_last := state.step > reactions;
    IF is_last THEN
        DELETE FROM room_settings WHERE room_id = room;
        UPDATE rooms SET last_seq = 0, last_rev = 0, rules = generation WHERE id = room;
        DELETE FROM closed_rooms WHERE room_id = room;
    ELSE
        UPDATE closed_rooms SET step = state.step, seq = state.seq, key = state.key, user_id = state.user_id
            WHERE room_id = room;
    END IF;
END
$$;
