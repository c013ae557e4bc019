-- The users whose erasure was requested, and how far it has come. A row is deleted together with the
-- last trace of its user.
CREATE TABLE user_erasures (
    user_id text COLLATE "C" PRIMARY KEY,
    -- keep or erase: what becomes of the user's messages.
    messages text NOT NULL,
    requested_at timestamptz NOT NULL,
    -- 0: memberships, bans, mutes and turns. 1: reactions. 2: changes of messages. 3: mentions.
    -- 4: messages and read pointers, room by room. 5: only what closes the user's connections is
    -- left.
    step integer NOT NULL DEFAULT 0,
    -- In step 4: the room, and up to where its messages are done.
    room_id bigint NOT NULL DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0
);
CREATE INDEX user_erasures_requested_at ON user_erasures (requested_at, user_id);

-- Where a user is banned, muted, mentioned or has to wait, and which messages a user was the last to
-- change. Of these rows, appends write only mentions and turns in slow mode; the column of a turn
-- that changes is not indexed (HOT).
CREATE INDEX bans_user_id ON bans (user_id, room_id);
CREATE INDEX mutes_user_id ON mutes (user_id, room_id);
CREATE INDEX slow_mode_turns_user_id ON slow_mode_turns (user_id, room_id);
CREATE INDEX message_changes_changed_by ON message_changes (changed_by, room_id, seq)
    WHERE changed_by IS NOT NULL;
CREATE INDEX mentions_user_id ON mentions (user_id, room_id, seq);

-- Which webhooks wait that name a user. Those about messages name none.
CREATE INDEX outbox_events_user_id ON outbox_events (user_id) WHERE kind = 'member.changed';
CREATE INDEX outbox_events_changed_by ON outbox_events (changed_by) WHERE changed_by IS NOT NULL;

-- Divides a message's extras into `replyTo`, the elements of `mentions`, and `metadata`: NULL for
-- those that it lacks, and for all of what another program has spoiled. Metadata may contain what
-- PostgreSQL does not decode, so it is not read as JSON.
CREATE FUNCTION parts_of_extras(extras text) RETURNS text[]
LANGUAGE sql IMMUTABLE
AS $$
    SELECT regexp_match(extras,
        '^\{("replyTo":[0-9]+)?,?(?:"mentions":\[((?:"(?:[^"\\]|\\.)*",?)+)\])?,?("metadata":.*)?\}$')
$$;

-- Returns the extras of a message without the mention of this user.
CREATE FUNCTION extras_without_mention(extras text, subject text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT
AS $$
    SELECT CASE WHEN parts IS NULL THEN extras ELSE '{' || nullif(concat_ws(',',
            parts[1],
            '"mentions":[' || (
                SELECT string_agg(mention[1], ',' ORDER BY place)
                FROM regexp_matches(parts[2], '"(?:[^"\\]|\\.)*"', 'g')
                    WITH ORDINALITY AS one (mention, place)
                WHERE mention[1] <> to_json(subject)::text
            ) || ']',
            parts[3]
        ), '') || '}' END
    FROM (SELECT parts_of_extras(extras) AS parts) AS divided
$$;

-- As in 0015_message_extras, but the mentions that remain are not deleted, and metadata that
-- PostgreSQL does not decode keeps none of them.
CREATE OR REPLACE FUNCTION forget_mentions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    before CONSTANT text := (parts_of_extras(OLD.extras))[2];
    after CONSTANT text :=
        CASE WHEN TG_OP = 'UPDATE' THEN (parts_of_extras(NEW.extras))[2] END;
BEGIN
    DELETE FROM mentions
    WHERE room_id = OLD.room_id AND seq = OLD.seq AND user_id = ANY (ARRAY(
        SELECT json_array_elements_text(('[' || before || ']')::json)
        EXCEPT SELECT json_array_elements_text(('[' || after || ']')::json)
    ));
    RETURN NULL;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

-- Erases at most so many rows of one user, whom no other session works on. Returns NULL if nothing
-- is due. It is called in autocommit.
--
-- A batch locks one room at most, before anything else, as append_messages does.
CREATE FUNCTION erase_user_batch(
    size bigint,
    OUT subject text,
    -- standing: the gateway ends what the user is in rooms, and calls again. content: rows were
    -- erased. over: the gateway calls finish_user_erasure.
    OUT stage text,
    OUT erased bigint,
    -- The room in which messages have changed, its generation and its newest change; or NULL.
    OUT room bigint,
    OUT room_generation bigint,
    OUT rev bigint
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    state user_erasures;
    at bigint;
    newest bigint;
    number bigint;
    generation_of_room bigint;
    seqs bigint[];
    keys text[];
    nth integer;
    outcome_of_change text;
BEGIN
    -- Statements that began before the request have ended two seconds after it. After thirty seconds,
    -- every node has closed the user's connections, and has stored when it was last seen.
    SELECT * INTO state FROM user_erasures
        WHERE requested_at < clock_timestamp() - interval '2 seconds'
            AND (step < 5 OR requested_at < clock_timestamp() - interval '30 seconds')
        ORDER BY requested_at, user_id LIMIT 1
        FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    subject := state.user_id;
    stage := 'content';
    erased := 0;

    IF state.step = 0 THEN
        IF EXISTS (SELECT FROM members WHERE user_id = state.user_id)
            OR EXISTS (SELECT FROM bans WHERE user_id = state.user_id)
            OR EXISTS (SELECT FROM mutes WHERE user_id = state.user_id)
            OR EXISTS (SELECT FROM slow_mode_turns WHERE user_id = state.user_id)
        THEN
            stage := 'standing';
            RETURN;
        END IF;
        state.step := 1;
    END IF;

    IF state.step = 1 THEN
        SELECT room_id INTO at FROM reactions
            WHERE user_id = state.user_id ORDER BY room_id, seq LIMIT 1;
        IF NOT FOUND THEN
            state.step := 2;
        ELSE
            SELECT rules, generation INTO number, generation_of_room
                FROM rooms WHERE id = at FOR NO KEY UPDATE;
            SELECT array_agg(seq ORDER BY seq, key), array_agg(key ORDER BY seq, key)
                INTO seqs, keys
                FROM (
                    SELECT seq, key FROM reactions
                    WHERE user_id = state.user_id AND room_id = at
                    ORDER BY seq, key LIMIT size
                ) AS part;
            FOR nth IN 1 .. coalesce(cardinality(seqs), 0) LOOP
                outcome_of_change := NULL;
                -- A room that is being deleted gets no new rows.
                IF generation_of_room <= number THEN
                    SELECT change.outcome, change.rev INTO outcome_of_change, newest
                        FROM change_message(at, seqs[nth], number, 'reactions', NULL,
                            state.user_id, keys[nth], false, 0, NULL) AS change;
                END IF;
                IF outcome_of_change IS DISTINCT FROM 'changed' THEN
                    DELETE FROM reactions
                        WHERE room_id = at AND seq = seqs[nth] AND key = keys[nth]
                            AND user_id = state.user_id;
                ELSE
                    room := at;
                    room_generation := generation_of_room;
                    rev := newest;
                END IF;
                erased := erased + 1;
            END LOOP;
        END IF;
    ELSIF state.step = 2 THEN
        UPDATE message_changes SET changed_by = 'deleted'
            WHERE (room_id, seq) IN (
                SELECT room_id, seq FROM message_changes
                WHERE changed_by = state.user_id ORDER BY room_id, seq LIMIT size
            );
        GET DIAGNOSTICS erased = ROW_COUNT;
        IF erased < size THEN
            state.step := 3;
        END IF;
    ELSIF state.step = 3 THEN
        SELECT room_id INTO at FROM mentions
            WHERE user_id = state.user_id ORDER BY room_id, seq LIMIT 1;
        IF NOT FOUND THEN
            state.step := 4;
        ELSE
            SELECT array_agg(seq ORDER BY seq) INTO seqs
                FROM (
                    SELECT seq FROM mentions WHERE user_id = state.user_id AND room_id = at
                    ORDER BY seq LIMIT size
                ) AS part;
            UPDATE messages SET extras = extras_without_mention(extras, state.user_id)
                WHERE room_id = at AND seq = ANY (seqs);
            -- The trigger has deleted those of the messages.
            DELETE FROM mentions
                WHERE room_id = at AND user_id = state.user_id AND seq = ANY (seqs);
            erased := coalesce(cardinality(seqs), 0);
        END IF;
    ELSIF state.step = 4 THEN
        -- A user who has written in a room has a pointer there, at its last message or beyond.
        SELECT room_id, seq INTO at, newest FROM read_pointers
            WHERE user_id = state.user_id AND room_id >= state.room_id
            ORDER BY room_id LIMIT 1;
        IF NOT FOUND THEN
            state.step := 5;
        ELSE
            IF at <> state.room_id THEN
                state.room_id := at;
                state.seq := 0;
            END IF;
            SELECT rules, generation INTO number, generation_of_room FROM rooms WHERE id = at;
            IF generation_of_room > number THEN
                -- Its messages are being deleted.
                state.seq := newest;
            ELSE
                IF state.messages = 'erase' THEN
                    SELECT rules, generation INTO number, generation_of_room
                        FROM rooms WHERE id = at FOR NO KEY UPDATE;
                END IF;
                SELECT array_agg(seq ORDER BY seq) INTO seqs
                    FROM (
                        SELECT seq FROM messages
                        WHERE room_id = at AND seq > state.seq AND seq <= state.seq + 10 * size
                            AND user_id = state.user_id
                        ORDER BY seq LIMIT size
                    ) AS part;
                erased := coalesce(cardinality(seqs), 0);
                IF state.messages = 'erase' AND generation_of_room <= number THEN
                    FOR nth IN 1 .. erased LOOP
                        SELECT change.rev INTO rev
                            FROM change_message(at, seqs[nth], number, 'erased', NULL, NULL, NULL,
                                NULL, 0, NULL) AS change;
                        room := at;
                        room_generation := generation_of_room;
                    END LOOP;
                ELSE
                    UPDATE messages SET user_id = 'deleted', client_message_id = NULL
                        WHERE room_id = at AND seq = ANY (seqs);
                END IF;
                IF erased = size THEN
                    state.seq := seqs[erased];
                ELSE
                    state.seq := state.seq + 10 * size;
                END IF;
            END IF;
            IF state.seq >= newest THEN
                DELETE FROM read_pointers
                    WHERE room_id = at AND user_id = state.user_id AND seq <= state.seq;
                -- Otherwise the user has written again, and the batch after this one goes on.
                IF FOUND THEN
                    state.room_id := at + 1;
                    state.seq := 0;
                END IF;
            END IF;
        END IF;
    ELSE
        stage := 'over';
    END IF;
    UPDATE user_erasures SET step = state.step, room_id = state.room_id, seq = state.seq
        WHERE user_id = state.user_id;
END
$$;

-- Erases what is left of a user: the name, unless the user has written or was added since (it is a
-- new one), when it was last seen, the sanctions, the notes of what has changed, and the webhooks
-- about its memberships that could not be delivered meanwhile. Returns whether the erasure is over;
-- false if it was requested again.
--
-- The notes are deleted in time anyway. A role that may not read them may call this.
CREATE FUNCTION finish_user_erasure(subject text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    -- Every role may call the function.
    IF NOT has_table_privilege(session_user, 'users', 'DELETE') THEN
        RAISE insufficient_privilege USING MESSAGE = 'permission denied for table users';
    END IF;
    DELETE FROM user_erasures
        WHERE user_id = subject AND step = 5
            AND requested_at < clock_timestamp() - interval '30 seconds';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM users
        WHERE id = subject
            AND NOT EXISTS (SELECT FROM read_pointers WHERE user_id = subject)
            AND NOT EXISTS (SELECT FROM members WHERE user_id = subject);
    UPDATE users SET last_seen_at = NULL WHERE id = subject AND last_seen_at IS NOT NULL;
    DELETE FROM revocations WHERE user_id = subject;
    DELETE FROM disconnections WHERE user_id = subject;
    UPDATE room_changes SET user_ids = array_replace(user_ids, subject, 'deleted')
        WHERE subject = ANY (user_ids);
    -- Nobody sorts or parks an entry meanwhile.
    PERFORM pg_advisory_xact_lock(1668113784, 0);
    UPDATE outbox_log
        SET user_ids = array_replace(user_ids, subject, 'deleted'),
            changed_by = CASE WHEN changed_by <> subject THEN changed_by ELSE 'deleted' END
        WHERE subject = ANY (user_ids) OR changed_by = subject;
    DELETE FROM outbox_events WHERE user_id = subject AND kind = 'member.changed';
    UPDATE outbox_events SET changed_by = 'deleted' WHERE changed_by = subject;
    -- Each is stored under the first of its users.
    DELETE FROM outbox_events WHERE kind = 'messages.unread' AND user_ids = ARRAY[subject];
    UPDATE outbox_events
        SET user_ids = array_remove(user_ids, subject),
            user_id = (array_remove(user_ids, subject))[1]
        WHERE kind = 'messages.unread' AND subject = ANY (user_ids);
    RETURN true;
END
$$;
