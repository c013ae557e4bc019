//! The statements of rooms with rules.

/// Reads a room and the standing of users, in one row. Without rules it reads nothing else than
/// the room: `OFFSET 0` keeps each part from being joined before the room is read.
///
/// Its plan (PostgreSQL 15), for a room without rules:
///
/// ```text
/// Nested Loop Left Join (actual rows=1 loops=1)
///   ->  Nested Loop Left Join (actual rows=1 loops=1)
///         ->  Aggregate (actual rows=1 loops=1)
///               ->  Index Scan using rooms_pkey on rooms (actual rows=1 loops=1)
///         ->  Result (actual rows=0 loops=1)
///               One-Time Filter: ((COALESCE(max(rooms.rules), '0'::bigint)) > 0)
///               ->  Index Scan using room_settings_pkey on room_settings (never executed)
///   ->  Aggregate (actual rows=1 loops=1)
///         ->  Result (actual rows=0 loops=1)
///               One-Time Filter: ((COALESCE(max(rooms.rules), '0'::bigint)) > 0)
///               ->  Function Scan on unnest subject (never executed)
///         SubPlan 1
///           ->  Index Scan using members_user_id on members (never executed)
/// ```
pub(super) const SNAPSHOT: (&str, &str) = (
    "WITH ask (room_id, users) AS (VALUES (",
    ")) SELECT room.rules, room.generation, settings.*, standing.* FROM ask \
     CROSS JOIN LATERAL (SELECT coalesce(max(rules), 0) AS rules, \
     coalesce(max(generation), 0) AS generation \
     FROM rooms WHERE id = ask.room_id OFFSET 0) AS room \
     LEFT JOIN LATERAL (\
     SELECT kind, name, frozen, slow_mode_seconds, metadata, created_at, member_count, owner_count \
     FROM room_settings WHERE room_id = ask.room_id AND room.rules > 0 OFFSET 0) AS settings ON true \
     LEFT JOIN LATERAL (\
     SELECT array_agg(role ORDER BY place) AS roles, array_agg(banned ORDER BY place) AS banned, \
     array_agg(muted ORDER BY place) AS muted FROM (SELECT place, \
     (SELECT role FROM members WHERE room_id = ask.room_id AND user_id = subject.id) AS role, \
     (SELECT coalesce(until, 'infinity') FROM bans \
     WHERE room_id = ask.room_id AND user_id = subject.id AND (until IS NULL OR until > now())) \
     AS banned, \
     (SELECT coalesce(until, 'infinity') FROM mutes \
     WHERE room_id = ask.room_id AND user_id = subject.id AND (until IS NULL OR until > now())) \
     AS muted \
     FROM unnest(ask.users) WITH ORDINALITY AS subject (id, place) \
     WHERE room.rules > 0) AS record) AS standing ON true",
);

macro_rules! recorded {
    () => {
        "recorded AS (INSERT INTO outbox_log (kind, room_ids, user_ids, changed_by) \
         SELECT event.kind, ARRAY[ask.room], \
         CASE WHEN ask.subject IS NOT NULL THEN ARRAY[ask.subject] END, ask.changed_by \
         FROM ask, changed, LATERAL (SELECT CASE WHEN ask.subject IS NULL \
         THEN 'room.changed' ELSE 'member.changed' END AS kind) AS event \
         WHERE changed.has_changed \
         AND position(event.kind IN coalesce(current_setting('chat.outbox', true), '')) > 0) "
    };
}

macro_rules! changed {
    () => {
        "SELECT changed.*, coalesce((SELECT generation FROM rooms \
         WHERE id = (SELECT room FROM ask)), 0) AS generation FROM changed"
    };
}

/// A change does not change the generation, which is therefore the one that the statement sees.
///
/// It is recorded for the outbox in the same statement, if the session records such changes. The
/// function has locked the room by then.
pub(super) const CHANGE: (&str, &str) = (
    "WITH ask (room, decided_by, change, subject, role, seconds, kind, name, frozen, slow_mode, \
     metadata, changed_by) AS (VALUES (",
    concat!(
        ")), changed AS (SELECT made.* FROM ask, change_room(ask.room, ask.decided_by, \
         ask.change, ask.subject, ask.role, ask.seconds, ask.kind, ask.name, ask.frozen, \
         ask.slow_mode, ask.metadata) AS made), ",
        recorded!(),
        changed!()
    ),
);

pub(super) const SANCTION: (&str, &str) = (
    "WITH ask (room, decided_by, change, subject, seconds, reason, changed_by) AS (VALUES (",
    concat!(
        ")), changed AS (SELECT made.* FROM ask, sanction_user(ask.room, ask.decided_by, \
         ask.change, ask.subject, ask.seconds, ask.reason) AS made), ",
        recorded!(),
        changed!()
    ),
);

/// The names are looked up one by one: a join could be planned as a scan of all users.
pub(super) const MEMBERS: (&str, &str) = (
    "WITH ask (room, after, size) AS (VALUES (",
    ")) SELECT user_id, (SELECT name FROM users WHERE id = user_id) AS user_name, role, \
     (SELECT coalesce(until, 'infinity') FROM mutes \
     WHERE mutes.room_id = member.room_id AND mutes.user_id = member.user_id \
     AND (until IS NULL OR until > now())) AS muted, joined_at \
     FROM members AS member \
     WHERE room_id = (SELECT room FROM ask) AND user_id > (SELECT after FROM ask) \
     ORDER BY user_id LIMIT (SELECT size FROM ask)",
);
