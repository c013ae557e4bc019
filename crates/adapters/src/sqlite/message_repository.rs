//! The log, on SQLite.

use async_trait::async_trait;
use chat_domain::{
    ClientMessageId, Message, MessageId, NewMessage, RoomId, Seq, StorageError,
    ports::{AppendError, Appended, MessageRepository},
};
use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::upsert::excluded;

use super::schema::{messages, read_pointers, rooms, users};
use super::{Database, errors, pool, rows};

#[async_trait]
impl MessageRepository for Database {
    async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        let appended = self
            .writer
            .write(move |connection| append(connection, message));
        appended.await?
    }

    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StorageError> {
        let found = pool::read(&self.pool, move |connection| {
            with_author()
                .filter(messages::room_id.eq(rows::number(room_id.get())))
                .filter(messages::seq.gt(rows::number(position.get())))
                .order(messages::seq)
                .limit(i64::try_from(limit).unwrap_or(i64::MAX))
                .load::<rows::MessageRow>(connection)
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
        let found = pool::read(&self.pool, move |connection| {
            with_author()
                .filter(messages::room_id.eq(rows::number(room_id.get())))
                .filter(messages::seq.lt(end))
                .order(messages::seq.desc())
                .limit(i64::try_from(limit).unwrap_or(i64::MAX))
                .load::<rows::MessageRow>(connection)
        });
        found.await?.into_iter().rev().map(rows::message).collect()
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

/// Numbers and stores one message, and its author, and moves the author's read
/// pointer, in one transaction; unless its author has used its id before.
fn append(
    connection: &mut SqliteConnection,
    message: NewMessage,
) -> Result<Result<Appended, AppendError>, StorageError> {
    // IMMEDIATE takes the write lock first: a transaction that reads before it
    // writes could be refused half-way, and nobody else can store a repeat between
    // the look for one and the commit.
    AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN IMMEDIATE")
        .map_err(StorageError::unavailable)?;
    let outcome = match find_original(connection, &message) {
        Ok(None) => insert(connection, &message).map(Ok),
        Ok(Some(original)) => Ok(Err(original)),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(Ok((id, seq))) => {
            AnsiTransactionManager::commit_transaction(connection)
                .map_err(errors::after_failed_commit)?;
            let stored = message.stored(MessageId::new(id), rows::position(seq)?);
            Ok(Ok(Appended::Stored(stored)))
        }
        Ok(Err(original)) => {
            AnsiTransactionManager::rollback_transaction(connection)
                .map_err(StorageError::unavailable)?;
            let original = rows::message(original)?;
            Ok(match original.content == message.content {
                true => Ok(Appended::Repeat(original)),
                false => Err(AppendError::Conflict),
            })
        }
        Err(error) => {
            // A rollback that fails changes nothing: without a commit nothing is
            // stored, and the connection is not used again.
            AnsiTransactionManager::rollback_transaction(connection).ok();
            Err(StorageError::unavailable(error))
        }
    }
}

/// The message that its author stored under the same id.
fn find_original(
    connection: &mut SqliteConnection,
    message: &NewMessage,
) -> QueryResult<Option<rows::MessageRow>> {
    let Some(id) = &message.client_message_id else {
        return Ok(None);
    };
    with_author()
        .filter(messages::room_id.eq(rows::number(message.room_id.get())))
        .filter(messages::user_id.eq(message.author.id.as_str()))
        .filter(messages::client_message_id.eq(id.as_str()))
        .first(connection)
        .optional()
}

fn insert(connection: &mut SqliteConnection, message: &NewMessage) -> QueryResult<(i64, i64)> {
    let room_id = rows::number(message.room_id.get());
    let author = &message.author;
    let seq: i64 = diesel::insert_into(rooms::table)
        .values((rooms::id.eq(room_id), rooms::last_seq.eq(1)))
        .on_conflict(rooms::id)
        .do_update()
        .set(rooms::last_seq.eq(rooms::last_seq + 1))
        .returning(rooms::last_seq)
        .get_result(connection)?;
    let known = users::table
        .find(author.id.as_str())
        .select(users::name)
        .first::<String>(connection)
        .optional()?;
    // A name that is known is not written again: most messages touch no user.
    if known.as_deref() != Some(author.name.as_str()) {
        diesel::insert_into(users::table)
            .values((
                users::id.eq(author.id.as_str()),
                users::name.eq(author.name.as_str()),
            ))
            .on_conflict(users::id)
            .do_update()
            .set(users::name.eq(excluded(users::name)))
            .execute(connection)?;
    }
    let id: i64 = diesel::insert_into(messages::table)
        .values((
            messages::room_id.eq(room_id),
            messages::seq.eq(seq),
            messages::user_id.eq(author.id.as_str()),
            messages::content.eq(message.content.as_str()),
            messages::client_message_id.eq(message
                .client_message_id
                .as_ref()
                .map(ClientMessageId::as_str)),
            messages::created_at.eq(message.created_at.to_string()),
        ))
        .returning(messages::id)
        .get_result(connection)?;
    diesel::insert_into(read_pointers::table)
        .values((
            read_pointers::room_id.eq(room_id),
            read_pointers::user_id.eq(author.id.as_str()),
            read_pointers::seq.eq(seq),
        ))
        .on_conflict((read_pointers::room_id, read_pointers::user_id))
        .do_update()
        .set(read_pointers::seq.eq(excluded(read_pointers::seq)))
        .execute(connection)?;
    Ok((id, seq))
}

#[cfg(test)]
mod tests {
    use chat_domain::{Content, DisplayName, RoomId, Timestamp, User, UserId};
    use diesel::connection::SimpleConnection as _;

    use super::*;
    use crate::sqlite::Database;

    /// A disk that is full, as SQLite sees it: the file may not grow.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_database_stores_nothing_until_there_is_space() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("chat.db"), 1).unwrap();
        database.migrate().await.unwrap();
        let mut connection = database.file.open().unwrap();
        let pages: i64 = diesel::dsl::sql::<diesel::sql_types::BigInt>("PRAGMA page_count")
            .get_result(&mut connection)
            .unwrap();
        let limit = |connection: &mut SqliteConnection, pages| {
            let limit = format!("PRAGMA max_page_count = {pages}");
            connection.batch_execute(&limit).unwrap();
        };
        let message = NewMessage {
            room_id: RoomId::new(1).unwrap(),
            author: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            content: Content::new("x".repeat(4000)).unwrap(),
            client_message_id: None,
            created_at: Timestamp::from_unix_millis(0),
        };

        limit(&mut connection, pages + 3);
        let mut stored = 0;
        let refused = loop {
            match append(&mut connection, message.clone()) {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(refused, StorageError::Unavailable(_)),
            "{refused:?}"
        );
        let read = database
            .after(message.room_id, Seq::START, 100)
            .await
            .unwrap();
        assert_eq!(read.len(), stored);

        limit(&mut connection, pages + 100);
        let after = append(&mut connection, message).unwrap().unwrap();
        assert!(matches!(after, Appended::Stored(m) if m.seq.get() == stored as u64 + 1));
    }
}
