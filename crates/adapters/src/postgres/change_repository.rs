//! Changes to messages, on PostgreSQL.
//!
//! A batch of changes is one statement, in autocommit: one round trip, and a node that is paused or
//! cut off keeps nothing locked. See the migration `0016_message_changes`.

mod change;
mod queries;

use async_trait::async_trait;
use chat_domain::ports::{
    ChangeRepository, ChangesPage, MadeChange, MessageChange, MessageChangeError, ReactingUsers,
    ReadLimit,
};
use chat_domain::{Message, ReactionKey, Rev, RoomId, Seq, StorageError, UserId};
use diesel::sql_types::{Array, BigInt, Nullable, Text};
use diesel::{IntoSql as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

pub(super) use self::change::PostgresChanges;
use self::queries::{CHANGED_AFTER, MESSAGE, OWN_REACTIONS, REACTING_USERS};
use super::message_columns::MessageColumns;
use super::statement::Statement;
use super::{Database, rows};
use crate::page::{self, ReadOf};
use crate::stored_changes::{self, LatestColumns};

#[derive(QueryableByName)]
struct PageRow {
    #[diesel(sql_type = BigInt)]
    newest: i64,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(embed)]
    changed: Option<ChangedRow>,
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
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: MESSAGE.0,
                parameters: (room.into_sql::<BigInt>(), position.into_sql::<BigInt>()),
                after: MESSAGE.1,
            };
            Box::pin(query.load::<MessageColumns>(session))
        });
        let message = read.await?.pop();
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
        let read = self.pool.read(move |session| {
            let bytes = i64::try_from(limit.bytes).unwrap_or(i64::MAX);
            let query = Statement {
                before: CHANGED_AFTER.0,
                parameters: (
                    room.into_sql::<BigInt>(),
                    after.into_sql::<BigInt>(),
                    up_to.into_sql::<BigInt>(),
                    page::rows_to_read(limit).into_sql::<BigInt>(),
                    bytes.into_sql::<BigInt>(),
                ),
                after: CHANGED_AFTER.1,
            };
            Box::pin(query.load::<PageRow>(session))
        });
        let found = read.await?;
        let first = found.as_slice().first();
        let (newest, generation) = first.map_or((0, 0), |row| (row.newest, row.generation));
        let read = ReadOf {
            newest: Seq::START,
            generation: rows::generation(generation),
        };
        let changed = found.into_iter().filter_map(|row| row.changed);
        let changed = changed.map(|row| {
            let latest = LatestColumns {
                previous: row.previous,
                kind: row.kind,
                changed_by: row.changed_by,
            };
            stored_changes::changed_message(row.message.message(room)?, latest)
        });
        stored_changes::page(newest, read, changed, limit)
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
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: REACTING_USERS.0,
                parameters: (
                    rows::number(room_id.get()).into_sql::<BigInt>(),
                    rows::number(seq.get()).into_sql::<BigInt>(),
                    key.as_str().to_owned().into_sql::<Text>(),
                    after.into_sql::<Text>(),
                    size.into_sql::<BigInt>(),
                ),
                after: REACTING_USERS.1,
            };
            Box::pin(query.load::<UserRow>(session))
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
        let user_id = user_id.as_str().to_owned();
        let messages: Vec<i64> = messages.iter().map(|seq| rows::number(seq.get())).collect();
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: OWN_REACTIONS.0,
                parameters: (
                    rows::number(room_id.get()).into_sql::<BigInt>(),
                    user_id.into_sql::<Text>(),
                    messages.into_sql::<Array<BigInt>>(),
                ),
                after: OWN_REACTIONS.1,
            };
            Box::pin(query.load::<ReactionRow>(session))
        });
        let found = read.await?.into_iter();
        let reactions = found.map(|row| {
            let key = ReactionKey::new(row.key).map_err(StorageError::corrupt)?;
            Ok((rows::position(row.seq)?, key))
        });
        reactions.collect()
    }
}
