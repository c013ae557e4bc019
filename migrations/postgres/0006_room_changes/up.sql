-- What has changed recently, so that a node finds what it was not notified of without reading
-- every room. A row for each batch, or for each room that another statement changes, kept
-- for about a minute after it was committed.
CREATE TABLE room_changes (
    -- The transaction that wrote the row.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- As append_messages has them: the rooms, the newest number of each before the change (-1:
    -- the room was left out), and how many numbers were added. To compute the new numbers is
    -- left to readers.
    room_ids bigint[] NOT NULL,
    bases bigint[] NOT NULL,
    counts bigint[] NOT NULL
);
CREATE INDEX room_changes_xid ON room_changes (xid);
-- A role that may write rooms needs no privilege on this table. A function with its owner's
-- privileges would cost each message more. A row that is wrong costs the nodes a read.
GRANT INSERT (room_ids, bases, counts) ON room_changes TO PUBLIC;
-- Rows live briefly: vacuum often and at once. Returning space would lock writers out.
ALTER TABLE room_changes SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = false
);

-- How far rows have been deleted: one row.
CREATE TABLE room_changes_pruning (
    -- The start of the server that the snapshots are from: they mean nothing elsewhere.
    server timestamptz NOT NULL,
    -- What this snapshot sees is deleted.
    done pg_snapshot NOT NULL,
    -- What this one sees is being deleted.
    pruned pg_snapshot NOT NULL,
    -- What this one sees is deleted next, some time after it was taken.
    next pg_snapshot NOT NULL,
    next_at timestamptz NOT NULL
);
INSERT INTO room_changes_pruning
VALUES (pg_postmaster_start_time(), pg_current_snapshot(), pg_current_snapshot(),
    pg_current_snapshot(), clock_timestamp());

-- Notes what other statements change. Row by row: a trigger of the whole statement would
-- copy each row for its transition table, also when append_messages needs no trigger.
CREATE FUNCTION note_room_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO room_changes (room_ids, bases, counts)
    VALUES (ARRAY[NEW.id], ARRAY[NEW.last_seq], ARRAY[0]);
    RETURN NULL;
END
$$;
CREATE TRIGGER note_insert AFTER INSERT ON rooms FOR EACH ROW
    WHEN (current_setting('chat.notes_changes', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_room_change();
CREATE TRIGGER note_update AFTER UPDATE ON rooms FOR EACH ROW
    WHEN (NEW.last_seq <> OLD.last_seq
        AND current_setting('chat.notes_changes', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_room_change();

-- Returns the rooms whose counters have moved since an earlier call, each with its newest
-- number, and what the next call needs: the server's start and the snapshot of this call.
-- The arrays are NULL if the changes are unknown: there was no earlier call, it was made on
-- another server or before a restart, or rows that it did not see may have been deleted.
--
-- A row is new if its transaction was not visible to the earlier snapshot: it had not begun
-- then, or was in progress. So nothing is missed in whatever order transactions commit, and
-- however long they take.
CREATE FUNCTION room_changes_since(
    INOUT server timestamptz,
    INOUT snapshot pg_snapshot,
    OUT ids bigint[],
    OUT seqs bigint[]
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
        SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(seq), '{}')
        INTO ids, seqs
        FROM (
            SELECT id, max(base + count) AS seq
            FROM room_changes, unnest(room_ids, bases, counts) AS change (id, base, count)
            WHERE (xid >= pg_snapshot_xmax(earlier)
                    OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(earlier))))
                AND base >= 0
            GROUP BY id
        ) AS change;
    END IF;
    server := pg_postmaster_start_time();
    snapshot := pg_current_snapshot();
END
$$;

-- Deletes a bounded number of rows that were committed at least 30 seconds ago. Every node
-- calls it every few seconds; one that meets another leaves the work to it.
CREATE FUNCTION prune_room_changes() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    portion CONSTANT bigint := 50000;
    began CONSTANT pg_snapshot := pg_current_snapshot();
    state room_changes_pruning;
    deleted bigint;
BEGIN
    SELECT * INTO state FROM room_changes_pruning FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- What a crash undoes is done again.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF state.server <> pg_postmaster_start_time() THEN
        -- No reader needs a row from before the start. The snapshots may be from another
        -- server, by a restored dump.
        DELETE FROM room_changes;
        UPDATE room_changes_pruning
        SET server = pg_postmaster_start_time(), done = began,
            pruned = pg_current_snapshot(), next = pg_current_snapshot(),
            next_at = clock_timestamp();
        RETURN;
    END IF;
    DELETE FROM room_changes WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM room_changes
        WHERE (xid >= pg_snapshot_xmax(state.done) AND xid < pg_snapshot_xmax(state.pruned)
                OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(state.done))))
            AND pg_visible_in_snapshot(xid, state.pruned)
        LIMIT portion
    ));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    -- Readers compare their snapshots with `pruned`, which is therefore committed before
    -- the first row that it sees is deleted.
    IF deleted < portion AND state.next_at < clock_timestamp() - interval '30 seconds' THEN
        UPDATE room_changes_pruning
        SET done = pruned, pruned = next, next = pg_current_snapshot(),
            next_at = clock_timestamp();
    END IF;
END
$$;

-- Stores a batch of messages in one call: rooms, names, read pointers, messages, and
-- what has changed. It is called in autocommit, so that no lock is held while the server
-- waits for a client. An empty batch stores nothing and needs the same privileges.
--
-- Locks: rooms first, then users, then read pointers, each in ascending order. A batch of
-- one room waits for it. A batch of several rooms waits for none of them, because it would
-- hold the others meanwhile: it stores the messages of those that are free.
--
-- Each statement sees what was committed before it began. What another session committed
-- before the rooms were locked is therefore visible to the statements after that.
--
-- No statement joins a table: its plan is made once for each session, perhaps while the
-- tables are small, and must not depend on their sizes.
CREATE OR REPLACE FUNCTION append_messages(
    -- The first id to use, or 0: the function takes a new block.
    INOUT first_id bigint,
    -- The rooms in ascending order, each once, with the number of its messages.
    room_ids bigint[],
    counts bigint[],
    -- The messages in their order: the index of the room, and the message's place among
    -- the room's messages, both counted from 1.
    message_rooms integer[],
    message_places bigint[],
    authors text[],
    contents text[],
    client_message_ids text[],
    times timestamptz[],
    -- The read pointers in ascending order, each once: the index of the room, and the place
    -- of the author's last message.
    pointer_rooms integer[],
    pointer_users text[],
    pointer_places bigint[],
    -- The names to be stored, in ascending order of the users, each once.
    user_ids text[],
    names text[],
    -- For each room, its newest number before the batch; -1 if another session has locked
    -- it, so that none of its messages was stored.
    OUT bases bigint[]
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    -- Sessions that create rooms hold one of 64 advisory locks of this class. A conflict of
    -- the primary key would make one wait for the other.
    creation CONSTANT integer := 1668113783;
    mark text;
    patience text;
    free bigint;
    expected bigint;
    stored bigint;
BEGIN
    -- One row for the batch instead of one for each room.
    mark := set_config('chat.notes_changes', 'on', true);
    IF cardinality(room_ids) = 1 THEN
        UPDATE rooms SET last_seq = last_seq + counts[1] WHERE id = room_ids[1]
            RETURNING last_seq - counts[1] INTO free;
        IF NOT FOUND THEN
            PERFORM pg_advisory_xact_lock(creation, hashint8(room_ids[1]) & 63);
            INSERT INTO rooms (id, last_seq) VALUES (room_ids[1], counts[1])
                ON CONFLICT (id) DO UPDATE SET last_seq = rooms.last_seq + excluded.last_seq
                RETURNING last_seq - counts[1] INTO free;
        END IF;
        bases := ARRAY[free];
        expected := counts[1];
    ELSE
        WITH free AS (
            SELECT id FROM rooms WHERE id = ANY (room_ids)
            ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
        ), counted AS (
            -- All of them conflict: in contrast to an update, this joins no table.
            INSERT INTO rooms AS room (id, last_seq)
            SELECT id, messages
            FROM free JOIN unnest(room_ids, counts) AS batch (id, messages) USING (id)
            ON CONFLICT (id) DO UPDATE SET last_seq = room.last_seq + excluded.last_seq
            RETURNING id, last_seq
        )
        SELECT array_agg(coalesce(last_seq - messages, -1) ORDER BY place),
            coalesce(sum(messages) FILTER (WHERE last_seq IS NOT NULL), 0)
        INTO bases, expected
        FROM unnest(room_ids, counts) WITH ORDINALITY AS batch (id, messages, place)
            LEFT JOIN counted USING (id);
        IF expected < cardinality(contents) OR cardinality(contents) = 0 THEN
            -- The others are locked, or do not exist yet.
            patience := current_setting('lock_timeout');
            PERFORM set_config('lock_timeout', '20ms', true);
            BEGIN
                WITH created AS (
                    INSERT INTO rooms (id, last_seq)
                    SELECT id, messages
                    FROM unnest(room_ids, counts, bases) AS batch (id, messages, base)
                    WHERE base = -1
                        AND (SELECT room.id FROM rooms AS room WHERE room.id = batch.id) IS NULL
                        AND pg_try_advisory_xact_lock(creation, hashint8(id) & 63)
                    ON CONFLICT (id) DO NOTHING
                    RETURNING id, last_seq
                )
                SELECT array_agg(CASE WHEN last_seq IS NULL THEN base ELSE 0 END ORDER BY place),
                    expected + coalesce(sum(last_seq), 0)
                INTO bases, expected
                FROM unnest(room_ids, bases) WITH ORDINALITY AS batch (id, base, place)
                    LEFT JOIN created USING (id);
            EXCEPTION WHEN lock_not_available THEN
                -- A session that does not take the advisory lock is creating one of them.
                NULL;
            END;
            PERFORM set_config('lock_timeout', patience, true);
        END IF;
    END IF;

    mark := set_config('chat.notes_changes', '', true);

    IF first_id = 0 THEN
        first_id := next_message_ids();
    END IF;
    -- A name that is stored already is neither written nor locked.
    IF cardinality(user_ids) > 0 OR cardinality(contents) = 0 THEN
        INSERT INTO users (id, name)
        SELECT id, name FROM unnest(user_ids, names) AS batch (id, name)
        WHERE (SELECT known.name FROM users AS known WHERE known.id = batch.id)
            IS DISTINCT FROM batch.name
        ON CONFLICT (id) DO UPDATE SET name = excluded.name;
    END IF;
    WITH change AS (
        INSERT INTO room_changes (room_ids, bases, counts)
        SELECT room_ids, bases, counts WHERE expected > 0
    ), pointer AS (
        INSERT INTO read_pointers (room_id, user_id, seq)
        SELECT room_ids[room], user_id, bases[room] + place
        FROM unnest(pointer_rooms, pointer_users, pointer_places) AS batch (room, user_id, place)
        WHERE bases[room] >= 0
        ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq
    )
    INSERT INTO messages (id, room_id, seq, user_id, content, client_message_id, created_at)
        OVERRIDING SYSTEM VALUE
    SELECT first_id + nth - 1, room_ids[room], bases[room] + place, author, content,
        client_message_id, created_at
    FROM unnest(message_rooms, message_places, authors, contents, client_message_ids, times)
        WITH ORDINALITY
        AS batch (room, place, author, content, client_message_id, created_at, nth)
    WHERE bases[room] >= 0;
    GET DIAGNOSTICS stored = ROW_COUNT;
    IF stored <> expected THEN
        RAISE 'the database stored % of % messages', stored, expected
            USING HINT = 'a trigger or a rule on the table messages suppresses rows';
    END IF;
END
$$;
