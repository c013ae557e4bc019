//! The log, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::{
    ClientMessageId, Message, MessageId, NewMessage, RoomId, Seq, StorageError,
    ports::{AppendError, Appended, MessageRepository},
};
use diesel::pg::{Pg, data_types::PgTimestamp};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager};

use super::pool::Failed;
use super::schema::{messages, users};
use super::{Database, errors, pool, rows};

/// How often a repeat is looked for whose original has just been deleted.
const ATTEMPTS: usize = 3;

#[async_trait]
impl MessageRepository for Database {
    async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        for _ in 0..ATTEMPTS {
            match self.try_append(&message).await? {
                Some((id, seq)) => return Ok(Appended::Stored(message.stored(id, seq))),
                // The unique key has raised: all of it is undone, also the number.
                None => {
                    if let Some(original) = self.find_original(&message).await? {
                        return match original.content == message.content {
                            true => Ok(Appended::Repeat(original)),
                            false => Err(AppendError::Conflict),
                        };
                    }
                }
            }
        }
        Err(StorageError::unavailable("the message's original comes and goes").into())
    }

    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StorageError> {
        let query = with_author()
            .filter(messages::room_id.eq(rows::number(room_id.get())))
            .filter(messages::seq.gt(rows::number(position.get())))
            .order(messages::seq)
            .limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let connection = pool::checkout(&self.pool).await?;
        let found = pool::run(connection, async |connection| {
            query.load::<rows::MessageRow>(connection).await
        });
        found.await?.into_iter().map(rows::message).collect()
    }

    async fn before(
        &self,
        room_id: RoomId,
        position: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>, StorageError> {
        let end = position.map_or(i64::MAX, |position| rows::number(position.get()));
        let query = with_author()
            .filter(messages::room_id.eq(rows::number(room_id.get())))
            .filter(messages::seq.lt(end))
            .order(messages::seq.desc())
            .limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let connection = pool::checkout(&self.pool).await?;
        let found = pool::run(connection, async |connection| {
            query.load::<rows::MessageRow>(connection).await
        });
        found.await?.into_iter().rev().map(rows::message).collect()
    }
}

impl Database {
    /// Stores the message, unless its author has used its id before.
    async fn try_append(
        &self,
        message: &NewMessage,
    ) -> Result<Option<(MessageId, Seq)>, StorageError> {
        let mut connection = pool::checkout(&self.pool).await?;
        let (id, seq) = match store(&mut connection, message).await {
            Ok(stored) => stored,
            Err(error) => {
                // Nothing is stored without a commit, and a closed connection
                // cannot send one.
                let is_usable = match &error {
                    Failed::TooSlow => false,
                    Failed::Refused(_) => {
                        let rollback =
                            AnsiTransactionManager::rollback_transaction(&mut *connection);
                        pool::in_time(rollback).await.is_ok()
                    }
                };
                if !is_usable {
                    drop(pool::Pooled::take(connection));
                }
                return match is_repeat(&error) {
                    true => Ok(None),
                    false => Err(StorageError::unavailable(error)),
                };
            }
        };
        let commit = AnsiTransactionManager::commit_transaction(&mut *connection);
        if let Err(error) = pool::in_time(commit).await {
            let error = errors::after_failed_commit(&mut connection, error).await;
            drop(pool::Pooled::take(connection));
            return Err(error);
        }
        Ok(Some((MessageId::new(id), rows::position(seq)?)))
    }

    /// The message that its author stored under the same id.
    async fn find_original(&self, message: &NewMessage) -> Result<Option<Message>, StorageError> {
        let id = message
            .client_message_id
            .as_ref()
            .map(ClientMessageId::as_str);
        let query = with_author()
            .filter(messages::room_id.eq(rows::number(message.room_id.get())))
            .filter(messages::user_id.eq(message.author.id.as_str()))
            .filter(messages::client_message_id.eq(id));
        let connection = pool::checkout(&self.pool).await?;
        let found = pool::run(connection, async |connection| {
            query.first::<rows::MessageRow>(connection).await.optional()
        });
        found.await?.map(rows::message).transpose()
    }
}

/// A message's row.
#[diesel::dsl::auto_type(no_type_alias)]
fn with_author() -> _ {
    messages::table.inner_join(users::table).select((
        messages::id,
        messages::room_id,
        messages::seq,
        messages::user_id,
        users::name,
        messages::content,
        messages::client_message_id,
        messages::created_at,
    ))
}

fn is_repeat(error: &Failed) -> bool {
    matches!(error, Failed::Refused(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, info))
        if info.constraint_name() == Some("messages_client_message_id"))
}

/// Begins a transaction and stores the message in it.
async fn store(
    connection: &mut AsyncPgConnection,
    message: &NewMessage,
) -> Result<(i64, i64), Failed> {
    // Whatever the database's default is: the counter's row lock gives the order,
    // and a stricter level would refuse instead of wait.
    let begin = AnsiTransactionManager::begin_transaction_sql(
        connection,
        "BEGIN ISOLATION LEVEL READ COMMITTED",
    );
    pool::in_time(begin).await?;
    let append = Append {
        room_id: rows::number(message.room_id.get()),
        user_id: message.author.id.as_str(),
        user_name: message.author.name.as_str(),
        content: message.content.as_str(),
        client_message_id: message
            .client_message_id
            .as_ref()
            .map(ClientMessageId::as_str),
        created_at: rows::time(message.created_at),
    };
    pool::in_time(append.get_result(connection)).await
}

/// Numbers and stores one message, and its author, and moves the author's read
/// pointer, in one statement: the room's counter row is locked first in every
/// transaction, so that none can deadlock with another.
///
/// The room's lock is held until the end of the transaction, also of one whose
/// connection has broken: whatever is stored later in the room comes after it.
///
/// A `QueryFragment` and not `sql_query`, which the server would parse anew at
/// every call.
struct Append<'a> {
    room_id: i64,
    user_id: &'a str,
    user_name: &'a str,
    content: &'a str,
    client_message_id: Option<&'a str>,
    created_at: PgTimestamp,
}

impl QueryFragment<Pg> for Append<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH room AS (INSERT INTO rooms (id, last_seq) VALUES (");
        out.push_bind_param::<BigInt, _>(&self.room_id)?;
        out.push_sql(
            ", 1) ON CONFLICT (id) DO UPDATE SET last_seq = rooms.last_seq + 1 \
             RETURNING id, last_seq), \
             author AS (INSERT INTO users (id, name) VALUES (",
        );
        out.push_bind_param::<Text, _>(self.user_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(self.user_name)?;
        out.push_sql(
            ") ON CONFLICT (id) DO UPDATE SET name = excluded.name \
             WHERE users.name <> excluded.name), \
             pointer AS (INSERT INTO read_pointers (room_id, user_id, seq) \
             SELECT room.id, ",
        );
        out.push_bind_param::<Text, _>(self.user_id)?;
        out.push_sql(
            ", room.last_seq FROM room \
             ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq) \
             INSERT INTO messages \
             (room_id, seq, user_id, content, client_message_id, created_at) \
             SELECT room.id, room.last_seq, ",
        );
        out.push_bind_param::<Text, _>(self.user_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(self.content)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.client_message_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Timestamptz, _>(&self.created_at)?;
        out.push_sql(" FROM room RETURNING id, seq");
        Ok(())
    }
}

impl QueryId for Append<'_> {
    type QueryId = Append<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Append<'_> {
    type SqlType = (BigInt, BigInt);
}
