//! The columns of a message in statements that diesel's query builder has no words for.

use chat_domain::{Message, StorageError};
use diesel::QueryableByName;
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};

use super::rows;

/// Selects, from the table `messages` as it is named there, the columns of [`MessageColumns`]
/// besides those of the changes.
macro_rules! message_columns {
    () => {
        "id AS message_id, seq AS message_seq, user_id AS author_id, \
         (SELECT users.name FROM users WHERE users.id = messages.user_id) AS author_name, \
         content, client_message_id, created_at, extras"
    };
}
pub(super) use message_columns;

/// Selects the columns of [`ChangesColumns`] from `message_changes`.
macro_rules! changes_columns {
    () => {
        "rev, edited_at, deleted_at, erased_at, reactions"
    };
}
pub(super) use changes_columns;

#[derive(QueryableByName)]
pub(super) struct MessageColumns {
    #[diesel(sql_type = BigInt)]
    message_id: i64,
    #[diesel(sql_type = BigInt)]
    message_seq: i64,
    #[diesel(sql_type = Text)]
    author_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    author_name: Option<String>,
    #[diesel(sql_type = Text)]
    content: String,
    #[diesel(sql_type = Nullable<Text>)]
    client_message_id: Option<String>,
    #[diesel(sql_type = Timestamptz)]
    created_at: PgTimestamp,
    #[diesel(sql_type = Nullable<Text>)]
    extras: Option<String>,
    #[diesel(embed)]
    changes: Option<ChangesColumns>,
}

#[derive(QueryableByName)]
pub(super) struct ChangesColumns {
    #[diesel(sql_type = BigInt)]
    rev: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    edited_at: Option<PgTimestamp>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    deleted_at: Option<PgTimestamp>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    erased_at: Option<PgTimestamp>,
    #[diesel(sql_type = Nullable<Text>)]
    reactions: Option<String>,
}

impl MessageColumns {
    /// Converts them to a message of this room.
    pub(super) fn message(self, room: i64) -> Result<Message, StorageError> {
        let row = (
            self.message_id,
            room,
            self.message_seq,
            self.author_id,
            self.author_name,
            self.content,
            self.client_message_id,
            self.created_at,
            self.extras,
        );
        let changes = self.changes.map(|changes| {
            (
                changes.rev,
                changes.edited_at,
                changes.deleted_at,
                changes.erased_at,
                changes.reactions,
            )
        });
        rows::message(row, changes)
    }
}
