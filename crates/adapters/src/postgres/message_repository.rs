//! The log of all rooms, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::{
    Message, NewMessage, RoomId, Seq, StorageError,
    ports::{AppendError, Appended, LogPage, MessageRepository, ReadLimit},
};
use diesel_async::RunQueryDsl;

use super::page_query::{Direction, PageQuery};
use super::{Database, rows};
use crate::page::{self, ReadOf};

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
        let query = PageQuery::new(room_id, Direction::After(position), limit);
        let (read, messages) = self.read_page(query).await?;
        page::forward(read, messages.into_iter().map(message), limit)
    }

    async fn before(
        &self,
        room_id: RoomId,
        position: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        let query = PageQuery::new(room_id, Direction::Before(position), limit);
        let (read, messages) = self.read_page(query).await?;
        page::backward(read, messages.into_iter().map(message), limit)
    }
}

/// A message, and what has become of it.
type StoredRow = (rows::MessageRow, Option<rows::ChangesRow>);

fn message((row, changes): StoredRow) -> Result<Message, StorageError> {
    rows::message(row, changes)
}

impl Database {
    /// Returns the room's state, and the rows in the direction of the read.
    async fn read_page(&self, query: PageQuery) -> Result<(ReadOf, Vec<StoredRow>), StorageError> {
        let read = self.pool.read(move |session| {
            Box::pin(
                query.load::<(i64, i64, Option<rows::MessageRow>, Option<rows::ChangesRow>)>(
                    session,
                ),
            )
        });
        let found = read.await?;
        let first = found.as_slice().first();
        let (newest, generation) =
            first.map_or((0, 0), |(newest, generation, ..)| (*newest, *generation));
        let read = ReadOf {
            newest: rows::position(newest)?,
            generation: rows::generation(generation),
        };
        let messages = found
            .into_iter()
            .filter_map(|(_, _, message, changes)| Some((message?, changes)));
        Ok((read, messages.collect()))
    }
}
