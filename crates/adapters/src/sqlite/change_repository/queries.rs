//! The statements that read changes to messages. The plan of the changes after a number:
//!
//! ```text
//! SEARCH change USING INDEX message_changes_rev (room_id=? AND rev>?)
//! SEARCH message USING INDEX sqlite_autoindex_messages_1 (room_id=? AND seq=?)
//! CORRELATED SCALAR SUBQUERY 1
//!   SEARCH users USING PRIMARY KEY (id=?)
//! ```

use crate::sqlite::message_columns::message_columns;

pub(super) const ROOM: &str = "SELECT last_rev AS newest, generation FROM rooms WHERE id = ?";

pub(super) const MESSAGE: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM messages AS message LEFT JOIN message_changes AS change \
     ON change.room_id = message.room_id AND change.seq = message.seq \
     WHERE message.room_id = ? AND message.seq = ?"
);

/// CROSS JOIN keeps the order of the tables, and with it that of the index.
pub(super) const CHANGED_AFTER: &str = concat!(
    "SELECT ",
    message_columns!(),
    ", change.previous, change.kind, change.changed_by \
     FROM message_changes AS change INDEXED BY message_changes_rev \
     CROSS JOIN messages AS message \
     ON message.room_id = change.room_id AND message.seq = change.seq \
     WHERE change.room_id = ? AND change.rev > ? AND change.seq <= ? \
     ORDER BY change.rev LIMIT ?"
);

pub(super) const REACTING_USERS: &str = "SELECT user_id, \
     (SELECT name FROM users WHERE users.id = reactions.user_id) AS name FROM reactions \
     WHERE room_id = ? AND seq = ? AND key = ? AND user_id > ? ORDER BY user_id LIMIT ?";

/// By the index of a user's reactions: a message may have any number of others.
pub(super) const OWN_REACTIONS: &str = "SELECT reactions.seq, reactions.key \
     FROM json_each(?3) AS asked CROSS JOIN reactions INDEXED BY reactions_user_id \
     WHERE user_id = ?2 AND room_id = ?1 AND reactions.seq = asked.value";
