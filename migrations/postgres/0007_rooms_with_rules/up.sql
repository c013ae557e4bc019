-- The settings of a room with rules. They are not in `rooms`, because each batch of messages
-- rewrites that row. The number of the rules is there: whatever changes one of the tables
-- below, except for turns, increments it in the same transaction.
CREATE TABLE room_settings (
    room_id bigint PRIMARY KEY,
    kind text NOT NULL,
    name text,
    frozen boolean NOT NULL,
    slow_mode_seconds bigint NOT NULL,
    -- A JSON object, as it was given.
    metadata text NOT NULL,
    created_at timestamptz NOT NULL,
    -- The rows of `members`.
    member_count bigint NOT NULL,
    owner_count bigint NOT NULL
);

CREATE TABLE members (
    room_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    role text NOT NULL,
    notify text NOT NULL DEFAULT 'all',
    joined_at timestamptz NOT NULL,
    PRIMARY KEY (room_id, user_id)
);
-- The rooms of one user.
CREATE INDEX members_user_id ON members (user_id, room_id);

-- NULL: until it is lifted. A row whose time has passed means nothing.
CREATE TABLE bans (
    room_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    until timestamptz,
    PRIMARY KEY (room_id, user_id)
);
CREATE TABLE mutes (
    room_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    until timestamptz,
    PRIMARY KEY (room_id, user_id)
);

-- From when on a user may write again in a room with slow mode.
CREATE TABLE slow_mode_turns (
    room_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (room_id, user_id)
);

-- Makes one change to a room's rules, if they have the number by which it was decided, and
-- returns the state afterwards. Returns no row, and writes nothing, if they have another
-- number. It is called in autocommit, so that no lock is held while the server waits for a
-- client.
--
-- It locks the room first, as append_messages does, and no other room.
CREATE FUNCTION change_room(
    room bigint,
    decided_by bigint,
    -- settings, set_member, remove_member, ban, unban, mute or unmute.
    change text,
    -- The user, except for settings.
    subject text,
    -- For set_member.
    new_role text,
    -- For ban and mute. NULL: until it is lifted.
    seconds bigint,
    -- For settings. NULL: as before.
    new_kind text,
    new_name text,
    new_frozen boolean,
    new_slow_mode_seconds bigint,
    new_metadata text
)
RETURNS TABLE (
    rules bigint,
    has_changed boolean,
    kind text,
    name text,
    frozen boolean,
    slow_mode_seconds bigint,
    metadata text,
    created_at timestamptz,
    member_count bigint,
    -- The user, if it has membership. 'infinity': muted until it is lifted.
    role text,
    user_name text,
    muted timestamptz,
    joined_at timestamptz
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    -- As in append_messages.
    creation CONSTANT integer := 1668113783;
    number bigint;
    moment timestamptz;
    role_before text;
    role_after text;
    written bigint;
    is_changed boolean := false;
BEGIN
    SELECT rules INTO number FROM rooms WHERE id = room FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM pg_advisory_xact_lock(creation, hashint8(room) & 63);
        SELECT rules INTO number FROM rooms WHERE id = room FOR NO KEY UPDATE;
    END IF;
    number := coalesce(number, 0);
    IF number <> decided_by THEN
        RETURN;
    END IF;

    -- Not before the room is locked.
    moment := clock_timestamp();
    SELECT role INTO role_before FROM members WHERE room_id = room AND user_id = subject;
    role_after := role_before;
    IF change = 'set_member' THEN
        role_after := new_role;
        INSERT INTO members AS member (room_id, user_id, role, joined_at)
            VALUES (room, subject, new_role, moment)
            ON CONFLICT (room_id, user_id) DO UPDATE SET role = excluded.role
            WHERE member.role <> excluded.role;
        is_changed := FOUND;
    ELSIF change = 'remove_member' OR change = 'ban' THEN
        role_after := NULL;
        DELETE FROM members WHERE room_id = room AND user_id = subject;
        is_changed := FOUND;
    END IF;
    IF change = 'ban' THEN
        INSERT INTO bans AS ban (room_id, user_id, until)
            VALUES (room, subject, moment + seconds * interval '1 second')
            ON CONFLICT (room_id, user_id) DO UPDATE SET until = excluded.until
            WHERE ban.until IS DISTINCT FROM excluded.until;
        is_changed := is_changed OR FOUND;
    ELSIF change = 'unban' THEN
        DELETE FROM bans
            WHERE room_id = room AND user_id = subject AND (until IS NULL OR until > moment);
        is_changed := FOUND;
    ELSIF change = 'mute' THEN
        INSERT INTO mutes AS mute (room_id, user_id, until)
            VALUES (room, subject, moment + seconds * interval '1 second')
            ON CONFLICT (room_id, user_id) DO UPDATE SET until = excluded.until
            WHERE mute.until IS DISTINCT FROM excluded.until;
        is_changed := FOUND;
    ELSIF change = 'unmute' THEN
        DELETE FROM mutes
            WHERE room_id = room AND user_id = subject AND (until IS NULL OR until > moment);
        is_changed := FOUND;
    END IF;

    IF is_changed OR change = 'settings' THEN
        INSERT INTO room_settings AS settings (room_id, kind, name, frozen, slow_mode_seconds,
                metadata, created_at, member_count, owner_count)
            VALUES (room, coalesce(new_kind, 'open'), new_name, coalesce(new_frozen, false),
                coalesce(new_slow_mode_seconds, 0), coalesce(new_metadata, '{}'), moment,
                (role_after IS NOT NULL)::int - (role_before IS NOT NULL)::int,
                (role_after IS NOT DISTINCT FROM 'owner')::int
                    - (role_before IS NOT DISTINCT FROM 'owner')::int)
            ON CONFLICT (room_id) DO UPDATE SET
                kind = coalesce(new_kind, settings.kind),
                name = coalesce(new_name, settings.name),
                frozen = coalesce(new_frozen, settings.frozen),
                slow_mode_seconds = coalesce(new_slow_mode_seconds, settings.slow_mode_seconds),
                metadata = coalesce(new_metadata, settings.metadata),
                member_count = settings.member_count + excluded.member_count,
                owner_count = settings.owner_count + excluded.owner_count
            WHERE is_changed
                OR new_kind <> settings.kind
                OR coalesce(new_name, settings.name) IS DISTINCT FROM settings.name
                OR new_frozen <> settings.frozen
                OR new_slow_mode_seconds <> settings.slow_mode_seconds
                OR new_metadata <> settings.metadata;
        is_changed := FOUND;
    END IF;
    IF is_changed THEN
        INSERT INTO rooms AS counter (id, last_seq, rules) VALUES (room, 0, 1)
            ON CONFLICT (id) DO UPDATE SET rules = counter.rules + 1
            RETURNING counter.rules INTO number;
    END IF;

    RETURN QUERY
    SELECT number, is_changed, coalesce(settings.kind, 'open'), settings.name,
        coalesce(settings.frozen, false), coalesce(settings.slow_mode_seconds, 0),
        coalesce(settings.metadata, '{}'), coalesce(settings.created_at, moment),
        coalesce(settings.member_count, 0), member.role,
        (SELECT name FROM users WHERE id = subject),
        (SELECT coalesce(until, 'infinity') FROM mutes
            WHERE room_id = room AND user_id = subject AND (until IS NULL OR until > moment)),
        member.joined_at
    FROM (SELECT) AS one
        LEFT JOIN room_settings AS settings ON settings.room_id = room
        LEFT JOIN members AS member ON member.room_id = room AND member.user_id = subject;
END
$$;

-- Takes a user's turn in a room with slow mode, if it is due. Returns NULL, or for how many
-- milliseconds it is not due.
CREATE FUNCTION take_turn(room bigint, subject text, seconds bigint) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    due timestamptz;
BEGIN
    -- Without a lock: a call that comes too early waits for no other and writes nothing.
    SELECT due_at INTO due FROM slow_mode_turns WHERE room_id = room AND user_id = subject;
    IF due > clock_timestamp() IS NOT TRUE THEN
        INSERT INTO slow_mode_turns AS turn (room_id, user_id, due_at)
            VALUES (room, subject, clock_timestamp() + seconds * interval '1 second')
            ON CONFLICT (room_id, user_id) DO UPDATE SET due_at = excluded.due_at
            WHERE turn.due_at <= clock_timestamp();
        IF FOUND THEN
            RETURN NULL;
        END IF;
        SELECT due_at INTO due FROM slow_mode_turns WHERE room_id = room AND user_id = subject;
    END IF;
    RETURN greatest(1, ceil(1000 * extract(epoch FROM due - clock_timestamp())));
END
$$;

-- Other nodes learn of a change of the rules as they do of a message.
DROP TRIGGER note_update ON rooms;
CREATE TRIGGER note_update AFTER UPDATE ON rooms FOR EACH ROW
    WHEN ((NEW.last_seq <> OLD.last_seq OR NEW.rules <> OLD.rules)
        AND current_setting('chat.notes_changes', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_room_change();

-- A room may have rules before its first message. Rooms are not checked now: the constraint
-- that it replaces was stricter.
ALTER TABLE rooms
    DROP CONSTRAINT rooms_last_seq_check,
    ADD CONSTRAINT rooms_last_seq_check CHECK (last_seq >= 0) NOT VALID;
