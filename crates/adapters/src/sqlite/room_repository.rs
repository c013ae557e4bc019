//! How far rooms have come, on SQLite.

use async_trait::async_trait;
use chat_domain::{RoomId, Seq, StorageError, ports::RoomRepository};
use diesel::prelude::*;

use super::{Database, pool, rows, schema::rooms};

/// SQLite takes 32,766 parameters in one statement.
const ROOMS_AT_ONCE: usize = 10_000;

#[async_trait]
impl RoomRepository for Database {
    async fn newest(&self, room_ids: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, StorageError> {
        let ids: Vec<i64> = room_ids.iter().map(|id| rows::number(id.get())).collect();
        let found = pool::read(&self.pool, move |connection| {
            let mut found = Vec::new();
            for ids in ids.chunks(ROOMS_AT_ONCE) {
                found.extend(
                    rooms::table
                        .filter(rooms::id.eq_any(ids))
                        .select((rooms::id, rooms::last_seq))
                        .load::<(i64, i64)>(connection)?,
                );
            }
            Ok(found)
        });
        let found = found.await?;
        found
            .into_iter()
            .map(|(id, seq)| Ok((rows::room(id)?, rows::position(seq)?)))
            .collect()
    }
}
