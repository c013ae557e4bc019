//! Changes to messages, on SQLite.
//!
//! A batch of changes is a transaction of the one task that writes. Each does what the function
//! `change_message` does on PostgreSQL.

mod change;
mod queries;

use async_trait::async_trait;
use chat_domain::ports::{
    ChangeRepository, ChangesPage, MadeChange, MessageChange, MessageChangeError, ReactingUsers,
    ReadLimit,
};
use chat_domain::{Message, ReactionKey, Rev, RoomId, Seq, StorageError, UserId};
use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

pub(super) use self::change::{SqliteChanges, make_change};
use self::queries::{CHANGED_AFTER, MESSAGE, OWN_REACTIONS, REACTING_USERS, ROOM};
use super::message_columns::MessageColumns;
use super::message_repository::at_one_moment;
use super::{Database, rows};
use crate::page::{self, ReadOf};
use crate::stored_changes::{self, LatestColumns};

#[derive(Default, QueryableByName)]
struct RoomRow {
    #[diesel(sql_type = BigInt)]
    newest: i64,
    #[diesel(sql_type = BigInt)]
    generation: i64,
}

#[derive(QueryableByName)]
struct ChangedRow {
    #[diesel(embed)]
    message: MessageColumns,
    #[diesel(sql_type = BigInt)]
    previous: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    changed_by: Option<String>,
}

#[derive(QueryableByName)]
struct UserRow {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

#[derive(QueryableByName)]
struct ReactionRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    key: String,
}

#[async_trait]
impl ChangeRepository for Database {
    async fn message(&self, room_id: RoomId, seq: Seq) -> Result<Option<Message>, StorageError> {
        let room = rows::number(room_id.get());
        let position = rows::number(seq.get());
        let read = self.pool.read(move |connection| {
            let read = message(connection, room, position);
            read.map_err(StorageError::unavailable)
        });
        let message = read.await?;
        message.map(|message| message.message(room)).transpose()
    }

    async fn change(&self, change: MessageChange) -> Result<MadeChange, MessageChangeError> {
        self.changes.change(change).await
    }

    async fn changed_after(
        &self,
        room_id: RoomId,
        after: Rev,
        up_to: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<ChangesPage, StorageError> {
        let room = rows::number(room_id.get());
        let after = rows::number(after.get());
        let up_to = up_to.map_or(i64::MAX, |seq| rows::number(seq.get()));
        let read = self.pool.read(move |connection| {
            at_one_moment(connection, |connection| {
                let state = diesel::sql_query(ROOM).bind::<BigInt, _>(room);
                let state = state.get_result::<RoomRow>(connection).optional();
                let state = state.map_err(StorageError::unavailable)?;
                let state = state.unwrap_or_default();
                let read = ReadOf {
                    newest: Seq::START,
                    generation: rows::generation(state.generation),
                };
                let changed = diesel::sql_query(CHANGED_AFTER)
                    .bind::<BigInt, _>(room)
                    .bind::<BigInt, _>(after)
                    .bind::<BigInt, _>(up_to)
                    .bind::<BigInt, _>(page::rows_to_read(limit))
                    .load_iter::<ChangedRow, DefaultLoadingMode>(connection)
                    .map_err(StorageError::unavailable)?;
                let changed = changed.map(|row| {
                    let row = row.map_err(StorageError::unavailable)?;
                    let latest = LatestColumns {
                        previous: row.previous,
                        kind: row.kind,
                        changed_by: row.changed_by,
                    };
                    stored_changes::changed_message(row.message.message(room)?, latest)
                });
                stored_changes::page(state.newest, read, changed, limit)
            })
        });
        read.await
    }

    async fn reacting_users(
        &self,
        room_id: RoomId,
        seq: Seq,
        key: ReactionKey,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<ReactingUsers, StorageError> {
        let size = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        // Every id is greater than the empty text.
        let after = after.map_or(String::new(), |after| after.as_str().to_owned());
        let read = self.pool.read(move |connection| {
            diesel::sql_query(REACTING_USERS)
                .bind::<BigInt, _>(rows::number(room_id.get()))
                .bind::<BigInt, _>(rows::number(seq.get()))
                .bind::<Text, _>(key.as_str())
                .bind::<Text, _>(after)
                .bind::<BigInt, _>(size)
                .load::<UserRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let (found, has_more) = stored_changes::up_to(read.await?, limit);
        let users = found.into_iter();
        let users = users.map(|row| stored_changes::user(row.user_id, row.name.as_deref()));
        Ok(ReactingUsers {
            users: users.collect::<Result<_, _>>()?,
            has_more,
        })
    }

    async fn own_reactions(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        messages: &[Seq],
    ) -> Result<Vec<(Seq, ReactionKey)>, StorageError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let user_id = user_id.clone();
        let messages: Vec<u64> = messages.iter().map(|seq| seq.get()).collect();
        let read = self.pool.read(move |connection| {
            diesel::sql_query(OWN_REACTIONS)
                .bind::<BigInt, _>(rows::number(room_id.get()))
                .bind::<Text, _>(user_id.as_str())
                // A JSON array.
                .bind::<Text, _>(format!("{messages:?}"))
                .load::<ReactionRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let found = read.await?.into_iter();
        let reactions = found.map(|row| {
            let key = ReactionKey::new(row.key).map_err(StorageError::corrupt)?;
            Ok((rows::position(row.seq)?, key))
        });
        reactions.collect()
    }
}

fn message(
    connection: &mut SqliteConnection,
    room: i64,
    position: i64,
) -> QueryResult<Option<MessageColumns>> {
    diesel::sql_query(MESSAGE)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(position)
        .get_result(connection)
        .optional()
}
