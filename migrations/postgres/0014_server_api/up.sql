-- What the product's backend states and asks for.
--
-- Why a user is banned or muted. It decides nothing, so it is not among what the number of a
-- room's rules counts.
ALTER TABLE bans ADD COLUMN reason text;
ALTER TABLE mutes ADD COLUMN reason text;

-- Bans or mutes a user, as change_room does, and keeps the reason in the same transaction.
-- Without one, an earlier reason is removed.
CREATE FUNCTION sanction_user(
    room bigint,
    decided_by bigint,
    -- ban or mute.
    change text,
    subject text,
    -- NULL: until it is lifted.
    seconds bigint,
    new_reason text
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
    role text,
    user_name text,
    muted timestamptz,
    joined_at timestamptz
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT changed.rules, changed.has_changed, changed.kind, changed.name, changed.frozen,
        changed.slow_mode_seconds, changed.metadata, changed.created_at, changed.member_count,
        changed.role, changed.user_name, changed.muted, changed.joined_at
    FROM change_room(room, decided_by, change, subject, NULL, seconds, NULL, NULL, NULL, NULL,
        NULL) AS changed;
    -- Otherwise the rules have another number.
    IF FOUND AND change = 'ban' THEN
        UPDATE bans SET reason = new_reason
            WHERE room_id = room AND user_id = subject AND reason IS DISTINCT FROM new_reason;
    ELSIF FOUND AND change = 'mute' THEN
        UPDATE mutes SET reason = new_reason
            WHERE room_id = room AND user_id = subject AND reason IS DISTINCT FROM new_reason;
    END IF;
END
$$;

-- Adds members, or changes their roles, under one number of the room's rules, and stores their
-- names. Returns a row for each of them. Returns no row, and writes nothing, if the rules have
-- another number. It is called in autocommit.
--
-- change_room locks the room, compares the number and creates the settings. Locks: the room,
-- then users in ascending order, as append_messages does.
CREATE FUNCTION set_members(
    room bigint,
    decided_by bigint,
    -- In ascending order, each once; with a role and a name, or NULL, each.
    user_ids text[],
    new_roles text[],
    names text[]
)
RETURNS TABLE (
    rules bigint,
    user_id text,
    user_name text,
    role text,
    muted timestamptz,
    joined_at timestamptz,
    has_changed boolean
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    number bigint;
    moment timestamptz;
    roles_before text[];
    changed bigint;
    members bigint;
    owners bigint;
BEGIN
    SELECT changed.rules INTO number
        FROM change_room(room, decided_by, 'settings', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            NULL) AS changed;
    IF number IS NULL THEN
        RETURN;
    END IF;
    moment := clock_timestamp();
    SELECT array_agg(
            (SELECT role FROM members WHERE room_id = room AND user_id = given.id)
            ORDER BY place
        )
        INTO roles_before
        FROM unnest(user_ids) WITH ORDINALITY AS given (id, place);
    SELECT count(*) FILTER (WHERE role IS DISTINCT FROM before),
            count(*) FILTER (WHERE before IS NULL),
            count(*) FILTER (WHERE role = 'owner') - count(*) FILTER (WHERE before = 'owner')
        INTO changed, members, owners
        FROM unnest(new_roles, roles_before) AS given (role, before);
    IF changed > 0 THEN
        INSERT INTO members (room_id, user_id, role, joined_at)
            SELECT room, id, given.role, moment
            FROM unnest(user_ids, new_roles, roles_before) AS given (id, role, before)
            WHERE given.role IS DISTINCT FROM before
            ON CONFLICT (room_id, user_id) DO UPDATE SET role = excluded.role;
        UPDATE room_settings
            SET member_count = member_count + members, owner_count = owner_count + owners
            WHERE room_id = room;
        IF number = decided_by THEN
            UPDATE rooms SET rules = rules + 1 WHERE id = room RETURNING rules INTO number;
        END IF;
    END IF;
    INSERT INTO users (id, name)
        SELECT id, given.name FROM unnest(user_ids, names) AS given (id, name)
        WHERE given.name IS NOT NULL
            AND (SELECT known.name FROM users AS known WHERE known.id = given.id)
                IS DISTINCT FROM given.name
        ON CONFLICT (id) DO UPDATE SET name = excluded.name;

    RETURN QUERY
    SELECT number, given.id, (SELECT known.name FROM users AS known WHERE known.id = given.id),
        given.role,
        (SELECT coalesce(until, 'infinity') FROM mutes
            WHERE room_id = room AND user_id = given.id AND (until IS NULL OR until > moment)),
        (SELECT joined_at FROM members WHERE room_id = room AND user_id = given.id),
        given.role IS DISTINCT FROM given.before
    FROM unnest(user_ids, new_roles, roles_before) WITH ORDINALITY
        AS given (id, role, before, place)
    ORDER BY place;
END
$$;
