//! The log of all rooms, on SQLite.

use async_trait::async_trait;
use chat_domain::{
    Message, NewMessage, RoomId, Seq, StorageError,
    ports::{AppendError, Appended, LogPage, MessageRepository, ReadLimit},
};
use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;

use super::schema::{messages, rooms, users};
use super::{Database, rows};
use crate::page;

#[async_trait]
impl MessageRepository for Database {
    async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        self.commits.append(message).await
    }

    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        let page = self.pool.read(move |connection| {
            let newest = newest(connection, room_id)?;
            let messages = with_author()
                .filter(messages::room_id.eq(rows::number(room_id.get())))
                .filter(messages::seq.gt(rows::number(position.get())))
                .order(messages::seq)
                .limit(page::rows_to_read(limit))
                .load_iter::<rows::MessageRow, DefaultLoadingMode>(connection)
                .map_err(StorageError::unavailable)?;
            page::forward(newest, messages.map(message), limit)
        });
        page.await
    }

    async fn before(
        &self,
        room_id: RoomId,
        position: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        let end = position.map_or(i64::MAX, |position| rows::number(position.get()));
        let page = self.pool.read(move |connection| {
            let newest = newest(connection, room_id)?;
            let messages = with_author()
                .filter(messages::room_id.eq(rows::number(room_id.get())))
                .filter(messages::seq.lt(end))
                .order(messages::seq.desc())
                .limit(page::rows_to_read(limit))
                .load_iter::<rows::MessageRow, DefaultLoadingMode>(connection)
                .map_err(StorageError::unavailable)?;
            page::backward(newest, messages.map(message), limit)
        });
        page.await
    }
}

/// Reads the room's newest position, as the first of two statements: the second one,
/// which reads the messages, then sees all of them up to this position.
fn newest(connection: &mut SqliteConnection, room_id: RoomId) -> Result<Seq, StorageError> {
    let newest = rooms::table
        .find(rows::number(room_id.get()))
        .select(rooms::last_seq)
        .first::<i64>(connection)
        .optional()
        .map_err(StorageError::unavailable)?;
    newest.map_or(Ok(Seq::START), rows::position)
}

/// Selects message rows. A message whose author is not stored has no name.
#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn with_author() -> _ {
    messages::table.left_join(users::table).select((
        messages::id,
        messages::room_id,
        messages::seq,
        messages::user_id,
        users::name.nullable(),
        messages::content,
        messages::client_message_id,
        messages::created_at,
    ))
}

fn message(row: QueryResult<rows::MessageRow>) -> Result<Message, StorageError> {
    rows::message(row.map_err(StorageError::unavailable)?)
}
