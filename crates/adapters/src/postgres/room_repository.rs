//! The state of rooms and of their readers, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::{
    Generation, RoomId, RoomState, Seq, StorageError, UserId,
    ports::{Changes, LogCursor, MarkedRead, RoomPosition, RoomRepository},
};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::{read_pointers, rooms};
use super::{Database, room_changes, rows};
use crate::group_commit::Mark;

#[async_trait]
impl RoomRepository for Database {
    async fn newest(&self, room_ids: &[RoomId]) -> Result<Vec<RoomPosition>, StorageError> {
        let ids: Vec<i64> = room_ids.iter().map(|id| rows::number(id.get())).collect();
        let read = self.pool.read(move |session| {
            let query = rooms::table.filter(rooms::id.eq_any(ids)).select((
                rooms::id,
                rooms::last_seq,
                rooms::rules,
                rooms::last_rev,
                rooms::generation.nullable(),
            ));
            Box::pin(query.load::<(i64, i64, i64, i64, Option<i64>)>(session))
        });
        let found = read.await?;
        found.into_iter().map(rows::room_position).collect()
    }

    async fn changed_since(&self, cursor: Option<LogCursor>) -> Result<Changes, StorageError> {
        self.pruning.start_if_due(&self.pool);
        room_changes::since(&self.pool, cursor.as_ref()).await
    }

    async fn read_state(
        &self,
        room_id: RoomId,
        user_id: &UserId,
    ) -> Result<RoomState, StorageError> {
        let user_id = user_id.as_str().to_owned();
        let read = self.pool.read(move |session| {
            let pointer = read_pointers::room_id
                .eq(rooms::id)
                .and(read_pointers::user_id.eq(user_id));
            let query = rooms::table
                .left_join(read_pointers::table.on(pointer))
                .filter(rooms::id.eq(rows::number(room_id.get())))
                .select((
                    rooms::last_seq,
                    read_pointers::seq.nullable(),
                    rooms::rules,
                    rooms::last_rev,
                ));
            Box::pin(async move {
                let found = query.first::<(i64, Option<i64>, i64, i64)>(session).await;
                found.optional()
            })
        });
        rows::room_state(read.await?)
    }

    async fn mark_read(
        &self,
        room_id: RoomId,
        generation: Generation,
        user_id: &UserId,
        position: Seq,
    ) -> Result<Option<MarkedRead>, StorageError> {
        let mark = Mark {
            room_id,
            generation,
            user_id: user_id.clone(),
            position,
        };
        self.commits.mark_read(mark).await
    }
}
