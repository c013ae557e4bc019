//! The log, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::{
    NewMessage, RoomId, Seq, StorageError,
    ports::{AppendError, Appended, LogPage, MessageRepository, ReadLimit, RoomRepository},
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::{messages, users};
use super::{Database, pool, rows};
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
        let newest = RoomRepository::newest(self, &[room_id]).await?;
        let newest = newest.into_iter().next();
        let newest = newest.map_or(Seq::START, |(_, newest)| newest);
        let query = with_author()
            .filter(messages::room_id.eq(rows::number(room_id.get())))
            .filter(messages::seq.gt(rows::number(position.get())))
            .order(messages::seq)
            .limit(page::rows_to_read(limit));
        let connection = pool::checkout(&self.pool).await?;
        let found = pool::run(connection, async |connection| {
            query.load::<rows::MessageRow>(connection).await
        });
        page::forward(newest, found.await?.into_iter().map(rows::message), limit)
    }

    async fn before(
        &self,
        room_id: RoomId,
        position: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        let newest = RoomRepository::newest(self, &[room_id]).await?;
        let newest = newest.into_iter().next();
        let newest = newest.map_or(Seq::START, |(_, newest)| newest);
        let end = position.map_or(i64::MAX, |position| rows::number(position.get()));
        let query = with_author()
            .filter(messages::room_id.eq(rows::number(room_id.get())))
            .filter(messages::seq.lt(end))
            .order(messages::seq.desc())
            .limit(page::rows_to_read(limit));
        let connection = pool::checkout(&self.pool).await?;
        let found = pool::run(connection, async |connection| {
            query.load::<rows::MessageRow>(connection).await
        });
        page::backward(newest, found.await?.into_iter().map(rows::message), limit)
    }
}

/// A message's row. An author who is not stored loses the name, not the message.
#[diesel::dsl::auto_type(no_type_alias)]
fn with_author() -> _ {
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
