//! The columns of a message in statements that diesel's query builder has no words for.

use chat_domain::{Message, StorageError};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::rows;

/// Selects the columns of [`MessageColumns`] from `message` and `change`.
macro_rules! message_columns {
    () => {
        "message.id AS message_id, message.seq AS message_seq, message.user_id AS author_id, \
         (SELECT users.name FROM users WHERE users.id = message.user_id) AS author_name, \
         message.content, message.client_message_id, message.created_at, message.extras, change.rev, \
         change.edited_at, change.deleted_at, change.erased_at, change.reactions"
    };
}
pub(super) use message_columns;

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
    #[diesel(sql_type = Text)]
    created_at: String,
    #[diesel(sql_type = Nullable<Text>)]
    extras: Option<String>,
    #[diesel(embed)]
    changes: Option<ChangesColumns>,
}

#[derive(QueryableByName)]
pub(super) struct ChangesColumns {
    #[diesel(sql_type = BigInt)]
    rev: i64,
    #[diesel(sql_type = Nullable<Text>)]
    edited_at: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    deleted_at: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    erased_at: Option<String>,
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
