//! Deletes rooms, on PostgreSQL.
//!
//! A closure and a batch are each one call of a function of the database, in autocommit: a node
//! that is paused or cut off keeps nothing locked. See the migration `0012_room_deletion`.

use async_trait::async_trait;
use chat_domain::ports::{Closing, DeletedBatch, RoomDeletion};
use chat_domain::{RoomId, StorageError};
use diesel::sql_types::{BigInt, Bool, Nullable};
use diesel::{IntoSql as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

use super::statement::Statement;
use super::{Database, rows};
use crate::stored_rules;

/// The closure is recorded for the outbox in the same statement, if the session records anything.
const CLOSE: (&str, &str) = (
    "WITH ask (room) AS (VALUES (",
    ")), closed AS (SELECT next_generation, was_open FROM ask, close_room(ask.room)), \
     recorded AS (INSERT INTO outbox_log (kind, room_ids) \
     SELECT CASE WHEN setting.kinds LIKE '%room.deleted%' THEN 'room.deleted' ELSE 'fence' END, \
     (SELECT ARRAY[room] FROM ask) \
     FROM closed, (SELECT current_setting('chat.outbox', true) AS kinds) AS setting \
     WHERE next_generation IS NOT NULL AND was_open AND setting.kinds <> '') \
     SELECT next_generation, was_open FROM closed WHERE next_generation IS NOT NULL",
);

const DELETE_BATCH: (&str, &str) = (
    "SELECT room, deleted, is_first, is_last FROM delete_closed_batch(",
    ") WHERE room IS NOT NULL",
);

const CLOSED_ROOMS: &str = "SELECT count(*) AS rooms FROM closed_rooms";

#[derive(QueryableByName)]
struct ClosedRow {
    #[diesel(sql_type = BigInt)]
    next_generation: i64,
    #[diesel(sql_type = Bool)]
    was_open: bool,
}

#[derive(QueryableByName)]
struct BatchRow {
    #[diesel(sql_type = BigInt)]
    room: i64,
    #[diesel(sql_type = BigInt)]
    deleted: i64,
    #[diesel(sql_type = Bool)]
    is_first: bool,
    #[diesel(sql_type = Bool)]
    is_last: bool,
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    rooms: Option<i64>,
}

#[async_trait]
impl RoomDeletion for Database {
    async fn close(&self, room_id: RoomId) -> Result<Closing, StorageError> {
        let call = Statement {
            before: CLOSE.0,
            parameters: (rows::number(room_id.get()).into_sql::<BigInt>(),),
            after: CLOSE.1,
        };
        let row = self.pool.call::<ClosedRow, _>(call).await?;
        Ok(match row {
            None => Closing::NotFound,
            Some(row) => {
                let generation = rows::generation(row.next_generation);
                match row.was_open {
                    true => Closing::Closed(generation),
                    false => Closing::AlreadyClosed(generation),
                }
            }
        })
    }

    async fn delete_batch(&self, size: usize) -> Result<Option<DeletedBatch>, StorageError> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let call = Statement {
            before: DELETE_BATCH.0,
            parameters: (size.into_sql::<BigInt>(),),
            after: DELETE_BATCH.1,
        };
        let row = self.pool.call::<BatchRow, _>(call).await?;
        let batch = row.map(|row| {
            Ok(DeletedBatch {
                room_id: rows::room(row.room)?,
                rows: stored_rules::count(row.deleted)?,
                is_first: row.is_first,
                is_last: row.is_last,
            })
        });
        batch.transpose()
    }

    async fn closed_rooms(&self) -> Result<u64, StorageError> {
        let read = self.pool.read(|session| {
            let query = diesel::sql_query(CLOSED_ROOMS);
            Box::pin(query.get_result::<CountRow>(session))
        });
        stored_rules::count(read.await?.rooms.unwrap_or_default())
    }
}
