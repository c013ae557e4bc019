-- Nodes also find whose membership, role or read pointer has changed.
--
-- Whom the change concerns, beside each of `room_ids`. NULL in the row of a batch of messages:
-- it must not cost more. In a row with users, no counter has moved: `bases` are -1 if read
-- pointers have, and -2 if memberships have begun, changed or ended.
ALTER TABLE room_changes ADD COLUMN user_ids text[];
GRANT INSERT (user_ids) ON room_changes TO PUBLIC;

-- One row for each statement, however many members it changes. Appends do not write members.
CREATE FUNCTION note_member_changes() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO room_changes (room_ids, bases, counts, user_ids)
    SELECT array_agg(room_id), array_agg(-2), array_agg(0), array_agg(user_id)
    FROM changed
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_insert AFTER INSERT ON members REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_member_changes();
CREATE TRIGGER note_update AFTER UPDATE ON members REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_member_changes();
CREATE TRIGGER note_delete AFTER DELETE ON members REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_member_changes();

-- As before, with the members that have changed, each once.
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
