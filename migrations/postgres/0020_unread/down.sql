-- Nothing of these kinds is known any more.
DELETE FROM outbox_events WHERE kind = 'messages.unread';
DELETE FROM outbox_log WHERE kind IN ('messages.unread', 'read');

CREATE OR REPLACE FUNCTION retry_outbox() RETURNS bigint
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

CREATE OR REPLACE FUNCTION settle_outbox(
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

DROP FUNCTION lease_outbox;
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

DROP FUNCTION report_unread;
DROP FUNCTION raise_read_floors;
DROP TRIGGER record_reads ON room_changes;
DROP FUNCTION record_reads;
DROP TRIGGER record_messages ON room_changes;
CREATE OR REPLACE FUNCTION record_messages() RETURNS trigger
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

DROP TRIGGER forget_unread ON closed_rooms;
DROP FUNCTION forget_unread_room;
DROP TABLE unread_rooms;
DROP INDEX outbox_events_unread;
ALTER TABLE outbox_events DROP COLUMN unread_after, DROP COLUMN unread_seq, DROP COLUMN user_ids;
ALTER TABLE outbox_log DROP COLUMN unread;
DROP TRIGGER note_update ON members;
CREATE TRIGGER note_update AFTER UPDATE ON members REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_member_changes();
DROP INDEX mentions_seq;
ALTER TABLE members DROP COLUMN read_floor;
