//! The state of rooms and of their readers, on SQLite.

use async_trait::async_trait;
use chat_domain::{
    Generation, RoomId, RoomState, Seq, StorageError, UserId,
    ports::{Changes, LogCursor, MarkedRead, RoomPosition, RoomRepository},
};
use diesel::prelude::*;

use super::schema::{read_pointers, rooms};
use super::{Database, room_changes, rows};
use crate::group_commit::Mark;

/// Rooms per statement: SQLite accepts at most 32,766 parameters.
const ROOMS_AT_ONCE: usize = 10_000;

#[async_trait]
impl RoomRepository for Database {
    async fn newest(&self, room_ids: &[RoomId]) -> Result<Vec<RoomPosition>, StorageError> {
        let ids: Vec<i64> = room_ids.iter().map(|id| rows::number(id.get())).collect();
        let newest = self.pool.read(move |connection| {
            let mut newest = Vec::new();
            for ids in ids.chunks(ROOMS_AT_ONCE) {
                let found = rooms::table
                    .filter(rooms::id.eq_any(ids))
                    .select((
                        rooms::id,
                        rooms::last_seq,
                        rooms::rules,
                        rooms::last_rev,
                        rooms::generation.nullable(),
                    ))
                    .load::<(i64, i64, i64, i64, Option<i64>)>(connection)
                    .map_err(StorageError::unavailable)?;
                for row in found {
                    newest.push(rows::room_position(row)?);
                }
            }
            Ok(newest)
        });
        newest.await
    }

    async fn changed_since(&self, cursor: Option<LogCursor>) -> Result<Changes, StorageError> {
        let changes = self
            .pool
            .read(move |connection| room_changes::since(connection, cursor.as_ref()));
        changes.await
    }

    async fn read_state(
        &self,
        room_id: RoomId,
        user_id: &UserId,
    ) -> Result<RoomState, StorageError> {
        let user_id = user_id.clone();
        let state = self.pool.read(move |connection| {
            let found = read_state(connection, room_id, &user_id);
            let found = found.map_err(StorageError::unavailable)?;
            rows::room_state(found.map(|(newest, read, rules, rev, _)| (newest, read, rules, rev)))
        });
        state.await
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

/// A room's newest position, a user's read pointer, the number of the room's rules, that of its
/// newest change to a message, and its generation.
pub(super) type RoomStateRow = (i64, Option<i64>, i64, i64, i64);

pub(super) fn read_state(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    user_id: &UserId,
) -> QueryResult<Option<RoomStateRow>> {
    let pointer = read_pointers::room_id
        .eq(rooms::id)
        .and(read_pointers::user_id.eq(user_id.as_str()));
    rooms::table
        .left_join(read_pointers::table.on(pointer))
        .filter(rooms::id.eq(rows::number(room_id.get())))
        .select((
            rooms::last_seq,
            read_pointers::seq.nullable(),
            rooms::rules,
            rooms::last_rev,
            rooms::generation,
        ))
        .first(connection)
        .optional()
}
