-- The webhook messages.unread: some time after a message was stored, the members who have not read
-- it are reported.
--
-- That must not cost a scan of all members, and reading must not cost appends more: each of them
-- moves its author's read pointer, and an index on read_pointers.seq would end the updates that write
-- no index (HOT). So the index is on a lower bound of the pointer, in the member's own row. It follows
-- when the outbox is sorted, once for many reads, and only while messages.unread is recorded. A report
-- compares the pointers themselves, and raises the bounds that it finds too low.

-- At most the member's read pointer.
ALTER TABLE members ADD COLUMN read_floor bigint NOT NULL DEFAULT 0;
CREATE INDEX members_behind ON members (room_id, read_floor, user_id) WHERE notify = 'all';
-- The mentions in a range of messages. A message without mentions does not write it.
CREATE INDEX mentions_seq ON mentions (room_id, seq, user_id);

-- A bound is not a change that others are to learn of.
DROP TRIGGER note_update ON members;
CREATE TRIGGER note_update AFTER UPDATE ON members REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT
    WHEN (current_setting('chat.notes_changes', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_member_changes();

-- Whether the messages are to be reported to members who do not read them. The kind of a row that
-- has no other purpose is messages.unread. The kind read: these users have read these rooms.
ALTER TABLE outbox_log ADD COLUMN unread boolean NOT NULL DEFAULT false;
GRANT INSERT (unread) ON outbox_log TO PUBLIC;

-- For messages.unread: the members, at most 1000. The report is about messages after unread_after,
-- up to unread_seq.
ALTER TABLE outbox_events
    ADD COLUMN unread_after bigint,
    ADD COLUMN unread_seq bigint,
    ADD COLUMN user_ids text[];
CREATE INDEX outbox_events_unread ON outbox_events (room_id) WHERE kind = 'messages.unread';

-- The rooms with messages whose report is due later: about `seq` at a time after `stored_at`, and then
-- about `newest_seq`, which stands for everything that was stored in between.
CREATE TABLE unread_rooms (
    room_id bigint PRIMARY KEY,
    -- What precedes is reported already.
    after bigint NOT NULL,
    seq bigint NOT NULL,
    -- The row of outbox_log.
    id bigint NOT NULL,
    stored_at timestamptz NOT NULL,
    newest_seq bigint NOT NULL,
    newest_id bigint NOT NULL,
    newest_at timestamptz NOT NULL,
    -- The room waits for a repetition of a call that failed.
    is_blocked boolean NOT NULL DEFAULT false
);
CREATE INDEX unread_rooms_stored_at ON unread_rooms (stored_at) WHERE NOT is_blocked;

-- It needs no privileges of the caller.
CREATE FUNCTION forget_unread_room() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    DELETE FROM unread_rooms WHERE room_id = OLD.room_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER forget_unread AFTER DELETE ON closed_rooms FOR EACH ROW
    EXECUTE FUNCTION forget_unread_room();

-- As before, also for messages.unread.
CREATE OR REPLACE FUNCTION record_messages() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
    kinds CONSTANT text := current_setting('chat.outbox', true);
BEGIN
    INSERT INTO outbox_log (kind, room_ids, bases, counts, unread)
    VALUES (
        CASE WHEN kinds LIKE '%message.created%' THEN 'message.created' ELSE 'messages.unread' END,
        NEW.room_ids, NEW.bases, NEW.counts, kinds LIKE '%messages.unread%'
    );
    RETURN NULL;
END
$$;
DROP TRIGGER record_messages ON room_changes;
CREATE TRIGGER record_messages AFTER INSERT ON room_changes FOR EACH ROW
    WHEN (NEW.rules IS NULL AND NEW.user_ids IS NULL
        AND current_setting('chat.outbox', true) ~ 'message\.created|messages\.unread')
    EXECUTE FUNCTION record_messages();

-- Read pointers have moved: a note of these has a negative base.
CREATE FUNCTION record_reads() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO outbox_log (kind, room_ids, user_ids) VALUES ('read', NEW.room_ids, NEW.user_ids);
    RETURN NULL;
END
$$;
CREATE TRIGGER record_reads AFTER INSERT ON room_changes FOR EACH ROW
    WHEN (NEW.user_ids IS NOT NULL AND NEW.bases[1] = -1
        AND current_setting('chat.outbox', true) LIKE '%messages.unread%')
    EXECUTE FUNCTION record_reads();

-- Raises the bounds of these members to their read pointers, except for rows that another
-- transaction holds.
CREATE FUNCTION raise_read_floors(rooms bigint[], users text[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    mark text;
BEGIN
    mark := set_config('chat.notes_changes', 'on', true);
    WITH behind AS (
        SELECT member.room_id, member.user_id, pointer.seq
        FROM (SELECT DISTINCT * FROM unnest(rooms, users) AS one (room_id, user_id)) AS given
            CROSS JOIN LATERAL (
                SELECT seq FROM read_pointers
                WHERE read_pointers.room_id = given.room_id
                    AND read_pointers.user_id = given.user_id
                OFFSET 0
            ) AS pointer
            JOIN members AS member ON member.room_id = given.room_id
                AND member.user_id = given.user_id AND member.read_floor < pointer.seq
        ORDER BY member.room_id, member.user_id
        FOR NO KEY UPDATE OF member SKIP LOCKED
    )
    UPDATE members SET read_floor = behind.seq FROM behind
        WHERE members.room_id = behind.room_id AND members.user_id = behind.user_id;
    mark := set_config('chat.notes_changes', '', true);
END
$$;

-- Reports the members of a room who have not read up to a message, in place of an earlier report that
-- waits. Returns the members whose bounds were too low.
CREATE FUNCTION report_unread(
    room bigint,
    -- What precedes was reported before.
    reported bigint,
    up_to bigint,
    -- The row of outbox_log that it comes from.
    record_id bigint,
    moment timestamptz
)
RETURNS text[]
LANGUAGE plpgsql
-- The bounds move faster than their statistics: with these, the table might be read instead.
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    size CONSTANT bigint := 1000;
    beginning bigint;
    passed text[];
BEGIN
    -- Not a room that is being deleted, or the next one of its number.
    IF NOT EXISTS (
        SELECT FROM rooms WHERE id = room AND generation <= rules AND last_seq >= up_to
    ) THEN
        RETURN '{}';
    END IF;
    WITH superseded AS (
        DELETE FROM outbox_events
        WHERE room_id = room AND kind = 'messages.unread' AND parked_at IS NULL
        RETURNING unread_after
    )
    SELECT least(reported, min(unread_after)) INTO beginning FROM superseded;
    WITH behind AS MATERIALIZED (
        SELECT user_id, coalesce((
            SELECT seq FROM read_pointers AS pointer
            WHERE pointer.room_id = room AND pointer.user_id = member.user_id
        ), 0) >= up_to AS has_read
        FROM members AS member
        WHERE room_id = room AND notify = 'all' AND read_floor < up_to
    ), recent AS MATERIALIZED (
        SELECT user_id, seq FROM mentions
        WHERE room_id = room AND seq > beginning AND seq <= up_to
    ), unread AS (
        SELECT user_id FROM behind WHERE NOT has_read
        UNION ALL
        SELECT DISTINCT user_id FROM recent AS mention
        WHERE 'mentions' = (
                SELECT notify FROM members AS member
                WHERE member.room_id = room AND member.user_id = mention.user_id
            )
            AND seq > coalesce((
                SELECT seq FROM read_pointers AS pointer
                WHERE pointer.room_id = room AND pointer.user_id = mention.user_id
            ), 0)
    ), numbered AS (
        SELECT user_id, (row_number() OVER (ORDER BY user_id) - 1) / size AS page FROM unread
    ), recorded AS (
        INSERT INTO outbox_events (room_id, id, user_id, first, last, kind, recorded_at,
            unread_after, unread_seq, user_ids)
        SELECT room, record_id, min(user_id), 0, 0, 'messages.unread', moment, beginning, up_to,
            array_agg(user_id ORDER BY user_id)
        FROM numbered GROUP BY page
        ON CONFLICT DO NOTHING
        RETURNING room_id
    ), due AS (
        INSERT INTO outbox_rooms (room_id, due_at) SELECT DISTINCT room_id, moment FROM recorded
        ON CONFLICT (room_id) DO NOTHING
    )
    SELECT coalesce(array_agg(user_id) FILTER (WHERE has_read), '{}') INTO passed FROM behind;
    RETURN passed;
END
$$;

-- As before, with messages.unread.
--
-- Sorts by rooms what was recorded, then lets a node hold rooms that are due. It is called in
-- autocommit, as settle_outbox is. Only one of these calls runs at a time: they take the same
-- advisory lock. What a crash of the server undoes is delivered again.
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
    seconds double precision,
    -- How long after a message was stored it is reported to be unread.
    notify_after double precision
)
RETURNS TABLE (room bigint, failed integer, failing_for double precision)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    portion CONSTANT integer := 200;
    moment timestamptz;
    -- Messages that were stored until then are due to be reported as unread.
    until timestamptz;
    part integer;
    part_rooms bigint[];
    part_users text[];
    read_rooms bigint[] := '{}';
    read_users text[] := '{}';
    free bigint;
    free_in_retry bigint;
    reports bigint := 0;
    waiting unread_rooms;
    other outbox_rooms;
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
                changed_by, recorded_at, unread
            FROM taken, unnest(room_ids, bases, counts) AS one (room_id, base, count)
            WHERE bases IS NOT NULL AND base >= 0 AND count > 0
            UNION ALL
            SELECT id, kind, room_ids[1], 0, 0, coalesce(one.user_id, ''), changed_by, recorded_at,
                false
            FROM taken LEFT JOIN LATERAL unnest(user_ids) AS one (user_id) ON true
            WHERE bases IS NULL AND kind <> 'read'
        ), numbered AS (
            -- Consecutive messages have the same two numbers.
            SELECT *,
                count(*) FILTER (WHERE kind <> 'message.created') OVER so_far AS others,
                last - sum(last - first + 1) OVER so_far AS before
            FROM single
            WHERE kind <> 'messages.unread'
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
        ), awaited AS (
            INSERT INTO unread_rooms
                (room_id, after, seq, id, stored_at, newest_seq, newest_id, newest_at)
            SELECT room_id, min(first) - 1, max(last), max(id), max(recorded_at),
                max(last), max(id), max(recorded_at)
            FROM single WHERE unread
            GROUP BY room_id
            ON CONFLICT (room_id) DO UPDATE SET newest_seq = excluded.newest_seq,
                newest_id = excluded.newest_id, newest_at = excluded.newest_at
        ), readers AS (
            SELECT one.room_id, one.user_id
            FROM taken, unnest(room_ids, user_ids) AS one (room_id, user_id)
            WHERE kind = 'read'
            UNION
            -- An author has read the own message.
            SELECT single.room_id, message.user_id
            FROM single CROSS JOIN LATERAL (
                SELECT user_id FROM messages
                WHERE messages.room_id = single.room_id AND seq BETWEEN single.first AND single.last
                OFFSET 0
            ) AS message
            WHERE unread AND EXISTS (
                SELECT FROM room_settings
                WHERE room_settings.room_id = single.room_id AND member_count > 0
            )
        )
        SELECT (SELECT count(*) FROM taken), coalesce(array_agg(room_id), '{}'),
            coalesce(array_agg(user_id), '{}')
        INTO part, part_rooms, part_users
        FROM readers;
        read_rooms := read_rooms || part_rooms;
        read_users := read_users || part_users;
        EXIT WHEN part < portion OR clock_timestamp() > moment + interval '300 milliseconds';
    END LOOP;

    IF NOT EXISTS (SELECT FROM outbox_state WHERE paused_at IS NOT NULL) THEN
        SELECT in_flight - count(*), in_retry - count(*) FILTER (WHERE attempts > 0)
            INTO free, free_in_retry
            FROM outbox_rooms WHERE holder IS NOT NULL AND due_at > moment;
        free := least(greatest(free, 0), most);
        free_in_retry := least(greatest(free_in_retry, 0), free);
        -- Not more reports than may be delivered now: a later one has newer messages.
        until := moment - notify_after * interval '1 second';
        UPDATE unread_rooms SET is_blocked = false
            WHERE is_blocked AND room_id = ANY (ARRAY(
                SELECT room_id FROM outbox_rooms WHERE attempts > 0 AND due_at <= moment
                ORDER BY due_at LIMIT free_in_retry
            ));
        FOR waiting IN
            SELECT * FROM unread_rooms WHERE NOT is_blocked AND stored_at <= until
            ORDER BY stored_at LIMIT in_flight + free
        LOOP
            EXIT WHEN reports >= free OR clock_timestamp() > moment + interval '600 milliseconds';
            SELECT * INTO other FROM outbox_rooms WHERE room_id = waiting.room_id;
            -- A room that a node holds gets no entry: the node might remove it as delivered.
            IF other.due_at > moment THEN
                UPDATE unread_rooms SET is_blocked = true
                    WHERE room_id = waiting.room_id AND other.holder IS NULL;
                CONTINUE;
            END IF;
            UPDATE outbox_rooms SET holder = NULL
                WHERE room_id = waiting.room_id AND holder IS NOT NULL;
            IF waiting.newest_at <= until THEN
                waiting.seq := waiting.newest_seq;
                waiting.id := waiting.newest_id;
            END IF;
            part_users := report_unread(waiting.room_id, waiting.after, waiting.seq, waiting.id,
                moment);
            read_users := read_users || part_users;
            read_rooms := read_rooms
                || array_fill(waiting.room_id, ARRAY[cardinality(part_users)]);
            IF waiting.seq = waiting.newest_seq THEN
                DELETE FROM unread_rooms WHERE room_id = waiting.room_id;
            ELSE
                UPDATE unread_rooms SET after = waiting.seq, seq = newest_seq, id = newest_id,
                        stored_at = newest_at
                    WHERE room_id = waiting.room_id;
            END IF;
            reports := reports + 1;
        END LOOP;
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
    END IF;
    -- Last, so that a change of a member does not wait for the rest.
    IF cardinality(read_rooms) > 0 THEN
        PERFORM raise_read_floors(read_rooms, read_users);
    END IF;
END
$$;

-- As before: a report that is parked keeps its columns, and a room that does not fail any more is not
-- blocked.
--
-- Ends a lease: removes what was delivered, and states when the room is due again. Returns whether
-- the node held the room; otherwise it changes nothing.
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
        -- What follows it is separated.
        INSERT INTO outbox_events
            (room_id, id, user_id, first, last, kind, changed_by, recorded_at)
        SELECT room_id, id, user_id, first + 1, last, kind, changed_by, recorded_at
        FROM outbox_events
        WHERE room_id = room AND parked_at IS NULL AND id = parked_id
            AND user_id = parked_user AND first = parked_number AND last > first;
        UPDATE outbox_events SET last = first, parked_at = moment, reason = why
            WHERE room_id = room AND parked_at IS NULL AND id = parked_id
                AND user_id = parked_user AND first = parked_number;
    END IF;
    IF failed = 0 THEN
        UPDATE unread_rooms SET is_blocked = false WHERE room_id = room AND is_blocked;
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

-- As before. Makes everything due now, and ends a pause. Returns how many entries were parked.
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
    UPDATE unread_rooms SET is_blocked = false WHERE is_blocked;
    RETURN parked;
END
$$;
