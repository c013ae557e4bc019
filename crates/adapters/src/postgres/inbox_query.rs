//! The statements of inboxes.
//!
//! A page reads the counter and the pointer of each of the user's rooms, for the order and the
//! number of unread messages, and the rest only of the rooms that it lists. Its plan
//! (PostgreSQL 15; 10,000 rooms of one user, 1 million messages):
//!
//! ```text
//! Sort (actual rows=51 loops=1)
//!   CTE mine
//!     ->  Nested Loop (actual rows=10000 loops=1)
//!           ->  GroupAggregate (actual rows=10000 loops=1)
//!                 ->  Sort (actual rows=20000 loops=1)
//!                       ->  Append (actual rows=20000 loops=1)
//!                             ->  Bitmap Heap Scan on members (actual rows=10000 loops=1)
//!                             ->  Bitmap Heap Scan on read_pointers (actual rows=10000 loops=1)
//!           ->  Index Scan using rooms_pkey on rooms (actual rows=1 loops=10000)
//!           SubPlan 6
//!             ->  Index Scan using read_pointers_user_id on read_pointers (never executed)
//!           SubPlan 7
//!             ->  Index Scan Backward using messages_pkey on messages (never executed)
//!   InitPlan 15 (returns $16)
//!     ->  Aggregate (actual rows=1 loops=1)
//!           ->  CTE Scan on mine mine_1 (actual rows=10000 loops=1)
//!   ->  Nested Loop Left Join (actual rows=51 loops=1)
//!         ->  Limit (actual rows=51 loops=1)
//!               ->  Sort (actual rows=51 loops=1)
//!                     Sort Method: top-N heapsort  Memory: 31kB
//!                     ->  CTE Scan on mine (actual rows=10000 loops=1)
//!         ->  Index Scan using members_user_id on members (actual rows=1 loops=51)
//!         ->  Index Scan using room_settings_pkey on room_settings (actual rows=1 loops=51)
//!         ->  Limit (actual rows=1 loops=51)
//!               ->  Index Scan Backward using messages_pkey on messages
//!                   (actual rows=1 loops=51)
//! ```
//!
//! The unread mentions of each listed room, and of each view, are read from the primary key of
//! their table, at most 1000:
//!
//! ```text
//! SubPlan 1
//!   ->  Aggregate (actual rows=1 loops=1000)
//!         ->  Limit (actual rows=100 loops=1000)
//!               ->  Index Only Scan using mentions_pkey on mentions (actual rows=100 loops=1000)
//!                     Index Cond: ((room_id = $0) AND (user_id = $1) AND (seq > member.read))
//! ```
//!
//! That takes 6 to 8 µs of a view without mentions, which takes 4 µs otherwise, and 40 µs of one with
//! 100.
//!
//! The page takes 21 to 29 ms of the server's processor time, with all pages in memory and on a machine
//! that was busy with other work; for a user with 50 rooms, 0.3 to 1.1 ms. To look up the newest
//! message of each room instead of `rooms.active_at` would add 33 ms. The append, which writes
//! that row anyway, takes as long as before within the noise of the measurement, with as many HOT
//! updates (98%).

use super::message_columns::{changes_columns, message_columns};

/// The rooms of the user of `ask`, with what their counters and the user's pointers state.
///
/// The counters are looked up one by one: a join could be planned as a scan of all rooms. So are
/// the pointers of a user with few rooms, who may have read any number of others. For many rooms
/// it is cheaper to read all the user's pointers at once; sorting joins them, because every plan
/// of that is a good one.
///
/// A room that is being deleted, whose generation has not begun, is left out.
///
/// A room whose newest message precedes the column `active_at` takes its activity from there.
macro_rules! mine {
    () => {
        "size AS (SELECT count(*) > 500 AS is_large FROM (\
         SELECT FROM members WHERE user_id = (SELECT user_id FROM ask) LIMIT 501) AS member), \
         mine AS (SELECT room.id, room.last_seq, room.last_rev, \
         CASE WHEN (SELECT is_large FROM size) THEN member.read ELSE coalesce((\
         SELECT seq FROM read_pointers AS pointer WHERE pointer.room_id = room.id \
         AND pointer.user_id = (SELECT user_id FROM ask)), 0) END AS read, \
         coalesce(room.active_at, CASE WHEN room.last_seq > 0 THEN (\
         SELECT created_at FROM messages WHERE messages.room_id = room.id \
         ORDER BY seq DESC LIMIT 1) END, member.joined_at) AS activity \
         FROM (\
         SELECT room_id, max(joined_at) AS joined_at, coalesce(max(seq), 0) AS read FROM (\
         SELECT room_id, joined_at, NULL::bigint AS seq FROM members \
         WHERE (SELECT allowed FROM ask) IS NULL AND user_id = (SELECT user_id FROM ask) \
         UNION ALL \
         SELECT one.* FROM unnest((SELECT allowed FROM ask)) AS allowed (id) \
         CROSS JOIN LATERAL (SELECT room_id, joined_at, NULL::bigint FROM members \
         WHERE room_id = allowed.id AND user_id = (SELECT user_id FROM ask) OFFSET 0) AS one \
         UNION ALL \
         SELECT room_id, NULL, seq FROM read_pointers \
         WHERE (SELECT is_large FROM size) AND user_id = (SELECT user_id FROM ask)\
         ) AS part GROUP BY room_id HAVING max(joined_at) IS NOT NULL\
         ) AS member CROSS JOIN LATERAL (\
         SELECT id, last_seq, active_at, last_rev FROM rooms WHERE rooms.id = member.room_id \
         AND rooms.generation <= rooms.rules OFFSET 0\
         ) AS room)"
    };
}

macro_rules! total {
    () => {
        "(SELECT coalesce(sum(greatest(last_seq - read, 0)), 0)::bigint FROM mine) AS unread_total"
    };
}

/// Counts the messages after a position that mention a user, up to
/// [`MAX_MENTIONS`](chat_domain::MemberView::MAX_MENTIONS).
macro_rules! mentions {
    ($room:literal, $user:literal, $read:literal) => {
        concat!(
            "SELECT count(*) FROM (SELECT FROM mentions WHERE mentions.room_id = ",
            $room,
            " AND mentions.user_id = ",
            $user,
            " AND mentions.seq > ",
            $read,
            " LIMIT 1000) AS mention"
        )
    };
}

/// Joins to each `room` its settings, its newest message and, in a room in which messages have
/// changed, what has become of it.
macro_rules! overview {
    () => {
        concat!(
            " LEFT JOIN LATERAL (SELECT kind, name, metadata FROM room_settings \
             WHERE room_settings.room_id = room.id OFFSET 0) AS settings ON true \
             LEFT JOIN LATERAL (SELECT ",
            message_columns!(),
            " FROM messages WHERE messages.room_id = room.id \
             ORDER BY seq DESC LIMIT 1) AS message ON true \
             LEFT JOIN LATERAL (SELECT ",
            changes_columns!(),
            " FROM message_changes WHERE room.last_rev > 0 \
             AND message_changes.room_id = room.id AND message_changes.seq = message.message_seq \
             OFFSET 0) AS change ON true"
        )
    };
}

pub(super) const PAGE: (&str, &str) = (
    "WITH ask (user_id, allowed, at, after, size) AS (VALUES (",
    concat!(
        ")), ",
        mine!(),
        " SELECT ",
        total!(),
        ", page.* FROM (SELECT) AS one LEFT JOIN (\
         SELECT room.*, member.role, member.notify, (",
        mentions!("room.id", "(SELECT user_id FROM ask)", "room.read"),
        ") AS mentions, coalesce(settings.kind, '') AS kind, \
         settings.name, coalesce(settings.metadata, '') AS metadata, message.*, change.* \
         FROM (SELECT * FROM mine \
         WHERE (activity, id) < ((SELECT at FROM ask), (SELECT after FROM ask)) \
         ORDER BY activity DESC, id DESC LIMIT (SELECT size FROM ask)) AS room \
         CROSS JOIN LATERAL (SELECT role, notify FROM members \
         WHERE room_id = room.id AND user_id = (SELECT user_id FROM ask) OFFSET 0) AS member",
        overview!(),
        ") AS page ON true ORDER BY activity DESC, id DESC"
    ),
);

pub(super) const UNREAD_TOTAL: (&str, &str) = (
    "WITH ask (user_id, allowed) AS (VALUES (",
    concat!(")), ", mine!(), " SELECT ", total!()),
);

pub(super) const OVERVIEWS: (&str, &str) = (
    "SELECT room.id, room.last_seq, room.last_rev, settings.kind, settings.name, settings.metadata, message.*, change.* \
     FROM unnest(",
    concat!(
        ") AS asked (id) CROSS JOIN LATERAL (\
         SELECT id, last_seq, last_rev FROM rooms WHERE rooms.id = asked.id \
         AND rooms.generation <= rooms.rules OFFSET 0) AS room",
        overview!(),
        " WHERE settings.kind IS NOT NULL"
    ),
);

pub(super) const VIEWS: (&str, &str) = (
    "SELECT member.* FROM unnest(",
    concat!(
        ") WITH ORDINALITY AS asked (room_id, user_id, place) LEFT JOIN LATERAL (\
         SELECT role, notify, read, (",
        mentions!("asked.room_id", "asked.user_id", "read"),
        ") AS mentions FROM (\
         SELECT role, notify, coalesce((SELECT seq FROM read_pointers AS pointer \
         WHERE pointer.room_id = members.room_id AND pointer.user_id = members.user_id), 0) AS read \
         FROM members WHERE members.room_id = asked.room_id AND members.user_id = asked.user_id \
         AND EXISTS (SELECT FROM rooms WHERE rooms.id = members.room_id AND generation <= rules) \
         OFFSET 0) AS member OFFSET 0) AS member ON true ORDER BY place"
    ),
);

/// Both parts see the row as it was before.
pub(super) const SET_NOTIFY: (&str, &str) = (
    "WITH ask (room_id, user_id, notify) AS (VALUES (",
    ")), changed AS (UPDATE members SET notify = (SELECT notify FROM ask) \
     WHERE room_id = (SELECT room_id FROM ask) AND user_id = (SELECT user_id FROM ask) \
     AND notify <> (SELECT notify FROM ask)) \
     SELECT EXISTS (SELECT FROM members JOIN rooms ON rooms.id = room_id \
     WHERE room_id = (SELECT room_id FROM ask) AND generation <= rules AND user_id = (SELECT user_id FROM ask)) AS is_member",
);
