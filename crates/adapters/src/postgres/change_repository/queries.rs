//! The statements of changes to messages.
//!
//! Their plans (PostgreSQL 15; 200,000 changed messages in 100 rooms, 100,000 reactions; the first
//! 101 of 500 messages that changed after a number, and the reactions of a user to 10 messages):
//!
//! ```text
//! CHANGED_AFTER, shortened:
//! WindowAgg (actual rows=101 loops=1)
//!   ->  Limit (actual rows=101 loops=1)
//!         ->  Nested Loop (actual rows=101 loops=1)
//!               ->  Index Scan using message_changes_rev on message_changes (rows=101 loops=1)
//!                     Index Cond: ((room_id = $4) AND (rev > $5))
//!                     Filter: (seq <= $6)
//!               ->  Index Scan using messages_pkey on messages (actual rows=1 loops=101)
//!                     SubPlan 8
//!                       ->  Index Scan using users_pkey on users (actual rows=1 loops=101)
//!
//! OWN_REACTIONS:
//! Nested Loop (actual rows=5 loops=1)
//!   ->  Function Scan on unnest asked (actual rows=10 loops=1)
//!   ->  Index Scan using reactions_user_id on reactions (actual rows=0 loops=10)
//!         Index Cond: ((user_id = $2) AND (room_id = $3) AND (seq = asked.seq))
//! ```
//!
//! With a position at which the page ends, the changes of later messages are read, too, but not the
//! messages. A table that is small is scanned instead of its index.

use crate::postgres::message_columns::{changes_columns, message_columns};

/// One call after the other, in the order of the arrays and in one transaction. The locks and the
/// steps of the function are described in the migration. It is volatile: each of its statements
/// has a snapshot of its own, and sees what the calls before have written.
///
/// The sum makes the server sort the rows, although they are in order: it returns none before all
/// calls have ended. An error in one of them is therefore reported instead of a row, and certainly
/// a rollback.
pub(super) const CHANGE: (&str, &str) = (
    "WITH ask (room_id, max_reactions, seqs, rules, kinds, contents, users, keys, are_on, \
     changers) AS (VALUES (",
    ")) SELECT made.* FROM ask CROSS JOIN LATERAL \
     unnest(seqs, rules, kinds, contents, users, keys, are_on, changers) WITH ORDINALITY \
     AS one (seq, decided_by, kind, content, user_id, key, is_on, changer, nth) \
     CROSS JOIN LATERAL change_message(ask.room_id, one.seq, one.decided_by, one.kind, \
     one.content, one.user_id, one.key, one.is_on, ask.max_reactions, one.changer) AS made \
     ORDER BY one.nth + 0",
);

pub(super) const MESSAGE: (&str, &str) = (
    "WITH ask (room_id, seq) AS (VALUES (",
    concat!(
        ")) SELECT message.*, change.* FROM ask CROSS JOIN LATERAL (SELECT ",
        message_columns!(),
        " FROM messages WHERE messages.room_id = ask.room_id AND messages.seq = ask.seq OFFSET 0\
         ) AS message LEFT JOIN LATERAL (SELECT ",
        changes_columns!(),
        " FROM message_changes AS known \
         WHERE known.room_id = ask.room_id AND known.seq = ask.seq OFFSET 0) AS change ON true"
    ),
);

pub(super) const CHANGED_AFTER: (&str, &str) = (
    "WITH ask (room_id, after, up_to, size, bytes) AS (VALUES (",
    concat!(
        ")) SELECT room.newest, room.generation, page.* FROM (\
         SELECT coalesce(max(last_rev), 0) AS newest, coalesce(max(generation), 0) AS generation \
         FROM rooms WHERE id = (SELECT room_id FROM ask)) AS room LEFT JOIN (\
         SELECT * FROM (SELECT *, row_number() OVER so_far AS place, \
         sum(bytes) OVER so_far - bytes AS bytes_before \
         FROM (SELECT change.*, message.*, \
         octet_length(content) + coalesce(octet_length(extras), 0) AS bytes FROM (SELECT room_id, seq, previous, kind, changed_by, ",
        changes_columns!(),
        " FROM message_changes WHERE room_id = (SELECT room_id FROM ask) \
         AND rev > (SELECT after FROM ask) AND seq <= (SELECT up_to FROM ask) \
         ORDER BY rev) AS change CROSS JOIN LATERAL (SELECT ",
        message_columns!(),
        " FROM messages WHERE messages.room_id = change.room_id AND messages.seq = change.seq \
         OFFSET 0) AS message ORDER BY rev LIMIT (SELECT size FROM ask)) AS changed \
         WINDOW so_far AS (ORDER BY rev ROWS UNBOUNDED PRECEDING)) AS sized \
         WHERE place <= 2 OR bytes_before <= (SELECT bytes FROM ask)\
         ) AS page ON true ORDER BY rev"
    ),
);

pub(super) const REACTING_USERS: (&str, &str) = (
    "WITH ask (room_id, seq, key, after, size) AS (VALUES (",
    ")) SELECT user_id, (SELECT name FROM users WHERE users.id = reaction.user_id) AS name \
     FROM (SELECT user_id FROM reactions WHERE room_id = (SELECT room_id FROM ask) \
     AND seq = (SELECT seq FROM ask) AND key = (SELECT key FROM ask) \
     AND user_id > (SELECT after FROM ask) \
     ORDER BY user_id LIMIT (SELECT size FROM ask)) AS reaction ORDER BY user_id",
);

/// By the index of a user's reactions: a message may have any number of others.
pub(super) const OWN_REACTIONS: (&str, &str) = (
    "WITH ask (room_id, user_id, seqs) AS (VALUES (",
    ")) SELECT one.seq, one.key FROM unnest((SELECT seqs FROM ask)) AS asked (seq) \
     CROSS JOIN LATERAL (SELECT seq, key FROM reactions \
     WHERE user_id = (SELECT user_id FROM ask) AND room_id = (SELECT room_id FROM ask) \
     AND reactions.seq = asked.seq OFFSET 0) AS one",
);
