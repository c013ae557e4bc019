-- What a message carries besides its text: the object of its `replyTo`, `mentions` and `metadata`
-- in their form on the wire, in this order and without spaces, or NULL.
ALTER TABLE messages ADD COLUMN extras text;

-- The mentions in `extras`, to count a user's unread ones. A message without any has no row.
CREATE TABLE mentions (
    room_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (room_id, user_id, seq)
);

-- A mention ends with the message, whatever removes it. No message without extras calls this. It
-- needs no privileges of the caller. Extras that another program has spoiled keep no message.
CREATE FUNCTION forget_mentions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    DELETE FROM mentions
    WHERE room_id = OLD.room_id AND seq = OLD.seq AND user_id = ANY (
        ARRAY(SELECT json_array_elements_text(OLD.extras::json -> 'mentions'))
    );
    RETURN NULL;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;
CREATE TRIGGER forget_mentions_of_update AFTER UPDATE OF extras ON messages FOR EACH ROW
    WHEN (OLD.extras IS NOT NULL) EXECUTE FUNCTION forget_mentions();
CREATE TRIGGER forget_mentions_of_delete AFTER DELETE ON messages FOR EACH ROW
    WHEN (OLD.extras IS NOT NULL) EXECUTE FUNCTION forget_mentions();

-- As in 0010_inbox, with three more parameters, for batches in which any message has extras. The
-- others still call that function, and cost what they did.
CREATE FUNCTION append_messages(
    -- The first id to use, or 0: the function takes a new block.
    INOUT first_id bigint,
    -- The rooms in ascending order, each once, with the number of its messages.
    room_ids bigint[],
    counts bigint[],
    -- The number of each room's rules by which its messages were decided; 0 for none.
    expected_rules bigint[],
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
    -- What each message carries besides its text, or NULL.
    extras text[],
    -- The users whom messages mention: the index of the message, counted from 1, and the user.
    mention_messages integer[],
    mention_users text[],
    -- For each room, its newest number before the batch. If none of its messages was stored:
    -- -1 if another session has locked it, -2 if its rules have another number.
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
        UPDATE rooms SET last_seq = last_seq + counts[1], active_at = now()
            WHERE id = room_ids[1] AND rules = expected_rules[1]
            RETURNING last_seq - counts[1] INTO free;
        -- A room with rules has a row.
        IF NOT FOUND AND expected_rules[1] = 0 THEN
            PERFORM pg_advisory_xact_lock(creation, hashint8(room_ids[1]) & 63);
            INSERT INTO rooms (id, last_seq, active_at) VALUES (room_ids[1], counts[1], now())
                ON CONFLICT (id) DO UPDATE
                    SET last_seq = rooms.last_seq + excluded.last_seq, active_at = now()
                    WHERE rooms.rules = 0
                RETURNING last_seq - counts[1] INTO free;
        END IF;
        IF free IS NULL THEN
            bases := ARRAY[-2];
            expected := 0;
            user_ids := '{}';
        ELSE
            bases := ARRAY[free];
            expected := counts[1];
        END IF;
    ELSE
        WITH free AS (
            SELECT id FROM rooms WHERE id = ANY (room_ids)
            ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
        ), counted AS (
            -- All of them conflict: in contrast to an update, this joins no table.
            INSERT INTO rooms AS room (id, last_seq, rules)
            SELECT id, messages, rules
            FROM free JOIN unnest(room_ids, counts, expected_rules)
                AS batch (id, messages, rules) USING (id)
            ON CONFLICT (id) DO UPDATE
                SET last_seq = room.last_seq + excluded.last_seq, active_at = now()
                WHERE room.rules = excluded.rules
            RETURNING id, last_seq
        )
        SELECT array_agg(coalesce(last_seq - messages, -1) ORDER BY place),
            coalesce(sum(messages) FILTER (WHERE last_seq IS NOT NULL), 0)
        INTO bases, expected
        FROM unnest(room_ids, counts) WITH ORDINALITY AS batch (id, messages, place)
            LEFT JOIN counted USING (id);
        IF expected < cardinality(contents) OR cardinality(contents) = 0 THEN
            -- The others are locked, do not exist yet, or have other rules. A number that
            -- differs is never right again: the room need not be locked to see that.
            patience := current_setting('lock_timeout');
            PERFORM set_config('lock_timeout', '20ms', true);
            BEGIN
                WITH created AS (
                    INSERT INTO rooms (id, last_seq, active_at)
                    SELECT id, messages, now()
                    FROM unnest(room_ids, counts, bases, expected_rules)
                        AS batch (id, messages, base, rules)
                    WHERE base = -1 AND rules = 0
                        AND (SELECT room.id FROM rooms AS room WHERE room.id = batch.id) IS NULL
                        AND pg_try_advisory_xact_lock(creation, hashint8(id) & 63)
                    ON CONFLICT (id) DO NOTHING
                    RETURNING id, last_seq
                )
                SELECT array_agg(
                        CASE
                            WHEN last_seq IS NOT NULL THEN 0
                            WHEN base = -1 AND rules <> coalesce(
                                (SELECT room.rules FROM rooms AS room WHERE room.id = batch.id), 0
                            ) THEN -2
                            ELSE base
                        END
                        ORDER BY place
                    ),
                    expected + coalesce(sum(last_seq), 0)
                INTO bases, expected
                FROM unnest(room_ids, bases, expected_rules) WITH ORDINALITY
                        AS batch (id, base, rules, place)
                    LEFT JOIN created USING (id);
            EXCEPTION WHEN lock_not_available THEN
                -- A session that does not take the advisory lock is creating one of them.
                NULL;
            END;
            PERFORM set_config('lock_timeout', patience, true);
            IF -2 = ANY (bases) THEN
                SELECT array_agg(id ORDER BY place), array_agg(name ORDER BY place)
                INTO user_ids, names
                FROM unnest(user_ids, names) WITH ORDINALITY AS batch (id, name, place)
                WHERE id = ANY (ARRAY(
                    SELECT user_id FROM unnest(pointer_rooms, pointer_users)
                        AS pointer (room, user_id)
                    WHERE bases[room] <> -2
                ));
            END IF;
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
    INSERT INTO messages (id, room_id, seq, user_id, content, client_message_id, created_at, extras)
        OVERRIDING SYSTEM VALUE
    SELECT first_id + nth - 1, room_ids[room], bases[room] + place, author, content,
        client_message_id, created_at, extra
    FROM unnest(message_rooms, message_places, authors, contents, client_message_ids, times,
            extras)
        WITH ORDINALITY
        AS batch (room, place, author, content, client_message_id, created_at, extra, nth)
    WHERE bases[room] >= 0;
    GET DIAGNOSTICS stored = ROW_COUNT;
    IF stored <> expected THEN
        RAISE 'the database stored % of % messages', stored, expected
            USING HINT = 'a trigger or a rule on the table messages suppresses rows';
    END IF;
    IF cardinality(mention_users) > 0 OR cardinality(contents) = 0 THEN
        INSERT INTO mentions (room_id, user_id, seq)
        SELECT room_ids[message_rooms[message]], user_id,
            bases[message_rooms[message]] + message_places[message]
        FROM unnest(mention_messages, mention_users) AS batch (message, user_id)
        WHERE bases[message_rooms[message]] >= 0
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;
