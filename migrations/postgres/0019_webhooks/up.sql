-- What has to be reported to the product's backend.
--
-- A session records what it stores if its setting chat.outbox names the kinds of events. Without
-- it, nothing is recorded, and storing costs what it cost before.
--
-- An entry refers to what it reports and does not contain it: its newest state is read when it is
-- reported, and what was deleted is in no backlog.

-- What was recorded, one row for each batch or change, until it is sorted by rooms. The id is taken
-- while the room is locked: the rows of one room are in the order of their commits.
CREATE TABLE outbox_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The type of the webhook, or fence: a room was deleted, and that is not reported.
    kind text NOT NULL,
    room_ids bigint[] NOT NULL,
    -- For messages and changes: as in room_changes.
    bases bigint[],
    counts bigint[],
    -- For members: each user.
    user_ids text[],
    -- Who made the change. NULL: the product.
    changed_by text COLLATE "C",
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- A role that may write rooms needs no privilege on this table. A function with its owner's
-- privileges would cost each batch more.
GRANT INSERT (kind, room_ids, bases, counts, user_ids, changed_by) ON outbox_log TO PUBLIC;
ALTER TABLE outbox_log SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0,
    vacuum_truncate = false
);

-- What waits, room by room, in order of the columns of the primary key. Consecutive messages are
-- one row.
CREATE TABLE outbox_events (
    room_id bigint NOT NULL,
    -- The row of outbox_log that it comes from, or the first of them.
    id bigint NOT NULL,
    -- '': the entry is not about a user.
    user_id text COLLATE "C" NOT NULL,
    -- The positions of messages, or the numbers of changes; 0 for what has none.
    first bigint NOT NULL,
    last bigint NOT NULL,
    kind text NOT NULL,
    changed_by text COLLATE "C",
    recorded_at timestamptz NOT NULL,
    -- When it was given up, and why. NULL: it was not.
    parked_at timestamptz,
    reason text,
    PRIMARY KEY (room_id, id, user_id, first)
);
CREATE INDEX outbox_events_recorded_at ON outbox_events (recorded_at) WHERE parked_at IS NULL;
CREATE INDEX outbox_events_parked_at ON outbox_events (parked_at) WHERE parked_at IS NOT NULL;
CREATE INDEX outbox_events_deletions ON outbox_events (room_id, id)
    WHERE kind IN ('room.deleted', 'fence');

-- The rooms in which something waits.
CREATE TABLE outbox_rooms (
    room_id bigint PRIMARY KEY,
    -- When the next delivery is due. While a node holds the room: when its lease expires.
    due_at timestamptz NOT NULL,
    -- How often the next delivery has failed, and since when.
    attempts integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    reason text,
    -- The node that holds the room. NULL: none.
    holder bigint
);
CREATE INDEX outbox_rooms_due_at ON outbox_rooms (due_at) WHERE attempts = 0;
CREATE INDEX outbox_rooms_in_retry ON outbox_rooms (due_at) WHERE attempts > 0;
CREATE INDEX outbox_rooms_holder ON outbox_rooms (due_at) WHERE holder IS NOT NULL;

-- One row.
CREATE TABLE outbox_state (paused_at timestamptz);
INSERT INTO outbox_state VALUES (NULL);

-- Messages: append_messages notes each batch in room_changes, with neither rules nor users.
CREATE FUNCTION record_messages() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO outbox_log (kind, room_ids, bases, counts)
    VALUES ('message.created', NEW.room_ids, NEW.bases, NEW.counts);
    RETURN NULL;
END
$$;
CREATE TRIGGER record_messages AFTER INSERT ON room_changes FOR EACH ROW
    WHEN (NEW.rules IS NULL AND NEW.user_ids IS NULL
        AND current_setting('chat.outbox', true) LIKE '%message.created%')
    EXECUTE FUNCTION record_messages();

CREATE FUNCTION record_message_change() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO outbox_log (kind, room_ids, bases, counts)
    VALUES ('message.changed', ARRAY[NEW.room_id], ARRAY[NEW.rev - 1], ARRAY[1]);
    RETURN NULL;
END
$$;
CREATE TRIGGER record_change AFTER INSERT OR UPDATE OF rev ON message_changes FOR EACH ROW
    WHEN (current_setting('chat.outbox', true) LIKE '%message.changed%')
    EXECUTE FUNCTION record_message_change();

-- Sorts by rooms what was recorded, then lets a node hold rooms that are due. It is called in
-- autocommit, as settle_outbox is. Only one of these calls runs at a time: they take the same
-- advisory lock. What a crash of the server undoes is delivered again.
CREATE FUNCTION lease_outbox(
    node bigint,
    -- How many rooms the node asks for.
    most bigint,
    -- How many rooms all nodes may hold, and how many of these may be ones whose last delivery
    -- failed.
    in_flight bigint,
    in_retry bigint,
    -- How long the leases last.
    seconds double precision
)
RETURNS TABLE (room bigint, failed integer, failing_for double precision)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    portion CONSTANT integer := 200;
    moment timestamptz;
    part integer;
    free bigint;
    free_in_retry bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1668113784, 0);
    PERFORM set_config('synchronous_commit', 'off', true);
    moment := clock_timestamp();
    -- For a bounded time: the next call goes on.
    LOOP
        WITH taken AS (
            DELETE FROM outbox_log
            WHERE id = ANY (ARRAY(SELECT id FROM outbox_log ORDER BY id LIMIT portion))
            RETURNING *
        ), single AS (
            SELECT id, kind, one.room_id, base + 1 AS first, base + count AS last, '' AS user_id,
                changed_by, recorded_at
            FROM taken, unnest(room_ids, bases, counts) AS one (room_id, base, count)
            WHERE bases IS NOT NULL AND base >= 0 AND count > 0
            UNION ALL
            SELECT id, kind, room_ids[1], 0, 0, coalesce(one.user_id, ''), changed_by, recorded_at
            FROM taken LEFT JOIN LATERAL unnest(user_ids) AS one (user_id) ON true
            WHERE bases IS NULL
        ), numbered AS (
            -- Consecutive messages have the same two numbers.
            SELECT *,
                count(*) FILTER (WHERE kind <> 'message.created') OVER so_far AS others,
                last - sum(last - first + 1) OVER so_far AS before
            FROM single
            WINDOW so_far AS (PARTITION BY room_id ORDER BY id, user_id ROWS UNBOUNDED PRECEDING)
        ), sorted AS (
            INSERT INTO outbox_events
                (room_id, id, user_id, first, last, kind, changed_by, recorded_at)
            SELECT room_id, min(id), user_id, min(first), max(last), kind, changed_by,
                min(recorded_at)
            FROM numbered
            GROUP BY room_id, kind, user_id, changed_by, others, before
            RETURNING room_id
        ), due AS (
            INSERT INTO outbox_rooms (room_id, due_at)
            SELECT DISTINCT room_id, moment FROM sorted
            ON CONFLICT (room_id) DO NOTHING
        )
        SELECT count(*) INTO part FROM taken;
        EXIT WHEN part < portion OR clock_timestamp() > moment + interval '300 milliseconds';
    END LOOP;

    IF EXISTS (SELECT FROM outbox_state WHERE paused_at IS NOT NULL) THEN
        RETURN;
    END IF;
    SELECT in_flight - count(*), in_retry - count(*) FILTER (WHERE attempts > 0)
        INTO free, free_in_retry
        FROM outbox_rooms WHERE holder IS NOT NULL AND due_at > moment;
    free := least(greatest(free, 0), most);
    free_in_retry := least(greatest(free_in_retry, 0), free);
    RETURN QUERY
    UPDATE outbox_rooms AS held
    SET holder = node, due_at = moment + seconds * interval '1 second'
    WHERE room_id = ANY (ARRAY(
        SELECT room_id FROM (
            (SELECT room_id, due_at FROM outbox_rooms
                WHERE attempts = 0 AND due_at <= moment ORDER BY due_at LIMIT free)
            UNION ALL
            (SELECT room_id, due_at FROM outbox_rooms
                WHERE attempts > 0 AND due_at <= moment
                ORDER BY due_at LIMIT free_in_retry)
        ) AS due
        ORDER BY due_at LIMIT free
    ))
    RETURNING room_id, attempts,
        coalesce(extract(epoch FROM moment - failing_since), 0)::double precision;
END
$$;

-- Ends a lease: removes what was delivered, and states when the room is due again. Returns whether
-- the node held the room; otherwise it changes nothing.
CREATE FUNCTION settle_outbox(
    room bigint,
    node bigint,
    -- The places of what was delivered first and last; NULL: nothing.
    from_id bigint,
    from_user text,
    from_number bigint,
    to_id bigint,
    to_user text,
    to_number bigint,
    -- How often the next delivery has failed; 0: it has not.
    failed integer,
    seconds double precision,
    why text,
    -- The place of the entry to park; NULL: none.
    parked_id bigint,
    parked_user text,
    parked_number bigint
)
RETURNS boolean
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    entry outbox_events;
    moment timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(1668113784, 0);
    PERFORM set_config('synchronous_commit', 'off', true);
    moment := clock_timestamp();
    PERFORM FROM outbox_rooms WHERE room_id = room AND holder = node;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- What precedes the first place was parked and is to be delivered again.
    DELETE FROM outbox_events
        WHERE room_id = room AND parked_at IS NULL
            AND (id, user_id, first) >= (from_id, from_user, from_number)
            AND ((id, user_id) < (to_id, to_user)
                OR ((id, user_id) = (to_id, to_user) AND last <= to_number));
    UPDATE outbox_events SET first = to_number + 1
        WHERE room_id = room AND parked_at IS NULL AND id = to_id AND user_id = to_user
            AND first <= to_number AND first >= CASE WHEN from_id = to_id THEN from_number ELSE 0 END;
    IF parked_id IS NOT NULL THEN
        DELETE FROM outbox_events
            WHERE room_id = room AND parked_at IS NULL AND id = parked_id
                AND user_id = parked_user AND first = parked_number
            RETURNING * INTO entry;
        IF FOUND THEN
            IF entry.last > entry.first THEN
                INSERT INTO outbox_events
                    (room_id, id, user_id, first, last, kind, changed_by, recorded_at)
                VALUES (entry.room_id, entry.id, entry.user_id, entry.first + 1, entry.last,
                    entry.kind, entry.changed_by, entry.recorded_at);
            END IF;
            INSERT INTO outbox_events
                (room_id, id, user_id, first, last, kind, changed_by, recorded_at, parked_at, reason)
            VALUES (entry.room_id, entry.id, entry.user_id, entry.first, entry.first, entry.kind,
                entry.changed_by, entry.recorded_at, moment, why);
        END IF;
    END IF;
    IF EXISTS (SELECT FROM outbox_events WHERE room_id = room AND parked_at IS NULL) THEN
        UPDATE outbox_rooms
            SET holder = NULL, due_at = moment + seconds * interval '1 second', attempts = failed,
                failing_since = CASE
                    WHEN failed = 0 THEN NULL WHEN failed = 1 THEN moment ELSE failing_since
                END,
                reason = CASE WHEN failed > 0 THEN why END
            WHERE room_id = room;
    ELSE
        DELETE FROM outbox_rooms WHERE room_id = room;
    END IF;
    RETURN true;
END
$$;

-- Makes everything due now, and ends a pause. Returns how many entries were parked.
CREATE FUNCTION retry_outbox() RETURNS bigint
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz;
    parked bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1668113784, 0);
    moment := clock_timestamp();
    UPDATE outbox_state SET paused_at = NULL WHERE paused_at IS NOT NULL;
    WITH released AS (
        UPDATE outbox_events SET parked_at = NULL, reason = NULL WHERE parked_at IS NOT NULL
        RETURNING room_id
    ), due AS (
        INSERT INTO outbox_rooms (room_id, due_at) SELECT DISTINCT room_id, moment FROM released
        ON CONFLICT (room_id) DO NOTHING
    )
    SELECT count(*) INTO parked FROM released;
    -- Also those that a later statement sees: the rooms that were failing anyway.
    UPDATE outbox_rooms SET due_at = moment, attempts = 0, failing_since = NULL
        WHERE attempts > 0 AND holder IS NULL;
    RETURN parked;
END
$$;
