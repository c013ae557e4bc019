//! The log, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::{
    Message, MessageId, NewMessage, RoomId, Seq, StorageError, ports::MessageRepository,
};
use diesel::pg::{Pg, data_types::PgTimestamp};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text, Timestamptz};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager};

use super::pool::Failed;
use super::{Database, errors, pool, rows, schema};

#[async_trait]
impl MessageRepository for Database {
    async fn append(&self, message: NewMessage) -> Result<Message, StorageError> {
        let mut connection = pool::checkout(&self.pool).await?;
        let (id, seq) = match store(&mut connection, &message).await {
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
                return Err(StorageError::unavailable(error));
            }
        };
        let commit = AnsiTransactionManager::commit_transaction(&mut *connection);
        if let Err(error) = pool::in_time(commit).await {
            let error = errors::after_failed_commit(&mut connection, error).await;
            drop(pool::Pooled::take(connection));
            return Err(error);
        }
        Ok(message.stored(MessageId::new(id), rows::position(seq)?))
    }

    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StorageError> {
        use schema::{messages, users};

        let query = messages::table
            .inner_join(users::table)
            .filter(messages::room_id.eq(rows::number(room_id.get())))
            .filter(messages::seq.gt(rows::number(position.get())))
            .order(messages::seq)
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select((
                messages::id,
                messages::room_id,
                messages::seq,
                messages::user_id,
                users::name,
                messages::content,
                messages::created_at,
            ));
        let connection = pool::checkout(&self.pool).await?;
        let found = pool::read(connection, async |connection| {
            query.load::<rows::MessageRow>(connection).await
        });
        found.await?.into_iter().map(rows::message).collect()
    }
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
        created_at: rows::time(message.created_at),
    };
    pool::in_time(append.get_result(connection)).await
}

/// Numbers and stores one message, and its author, in one statement: the room's
/// counter row is locked first, the author's last, in every transaction, so that
/// none can deadlock with another.
///
/// A `QueryFragment` and not `sql_query`, which the server would parse anew at
/// every call.
struct Append<'a> {
    room_id: i64,
    user_id: &'a str,
    user_name: &'a str,
    content: &'a str,
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
             WHERE users.name <> excluded.name) \
             INSERT INTO messages (room_id, seq, user_id, content, created_at) \
             SELECT room.id, room.last_seq, ",
        );
        out.push_bind_param::<Text, _>(self.user_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(self.content)?;
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
