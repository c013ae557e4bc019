//! How far rooms have come, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::{RoomId, Seq, StorageError, ports::RoomRepository};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Database, pool, rows, schema::rooms};

#[async_trait]
impl RoomRepository for Database {
    async fn newest(&self, room_ids: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, StorageError> {
        let ids: Vec<i64> = room_ids.iter().map(|id| rows::number(id.get())).collect();
        let connection = pool::checkout(&self.pool).await?;
        let found = pool::read(connection, async |connection| {
            rooms::table
                .filter(rooms::id.eq_any(ids))
                .select((rooms::id, rooms::last_seq))
                .load::<(i64, i64)>(connection)
                .await
        });
        let found = found.await?;
        found
            .into_iter()
            .map(|(id, seq)| Ok((rows::room(id)?, rows::position(seq)?)))
            .collect()
    }
}
