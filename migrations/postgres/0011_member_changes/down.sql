DROP TRIGGER note_delete ON members;
DROP TRIGGER note_update ON members;
DROP TRIGGER note_insert ON members;
DROP FUNCTION note_member_changes;
DROP FUNCTION room_changes_since;
-- Rows with users are not read as changes of rooms, because their bases are -1.
ALTER TABLE room_changes DROP COLUMN user_ids;

-- As it was before.
CREATE FUNCTION room_changes_since(
    INOUT server timestamptz,
    INOUT snapshot pg_snapshot,
    OUT ids bigint[],
    OUT seqs bigint[],
    OUT numbers bigint[]
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
    END IF;
    server := pg_postmaster_start_time();
    snapshot := pg_current_snapshot();
END
$$;
