//! The state of rooms and of their readers, on SQLite.

use async_trait::async_trait;
use chat_domain::{
    ReadState, RoomId, Seq, StorageError, UserId,
    ports::{MarkedRead, RoomRepository},
};
use diesel::prelude::*;

use super::schema::{read_pointers, rooms};
use super::{Database, rows};

/// Rooms per statement: SQLite accepts at most 32,766 parameters.
const ROOMS_AT_ONCE: usize = 10_000;

#[async_trait]
impl RoomRepository for Database {
    async fn newest(&self, room_ids: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, StorageError> {
        let ids: Vec<i64> = room_ids.iter().map(|id| rows::number(id.get())).collect();
        let newest = self.pool.read(move |connection| {
            let mut newest = Vec::new();
            for ids in ids.chunks(ROOMS_AT_ONCE) {
                let found = rooms::table
                    .filter(rooms::id.eq_any(ids))
                    .select((rooms::id, rooms::last_seq))
                    .load::<(i64, i64)>(connection)
                    .map_err(StorageError::unavailable)?;
                for (id, seq) in found {
                    newest.push((rows::room(id)?, rows::position(seq)?));
                }
            }
            Ok(newest)
        });
        newest.await
    }

    async fn read_state(
        &self,
        room_id: RoomId,
        user_id: &UserId,
    ) -> Result<ReadState, StorageError> {
        let user_id = user_id.clone();
        let state = self.pool.read(move |connection| {
            let found = read_state(connection, room_id, &user_id);
            rows::read_state(found.map_err(StorageError::unavailable)?)
        });
        state.await
    }

    async fn mark_read(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        position: Seq,
    ) -> Result<MarkedRead, StorageError> {
        let user_id = user_id.clone();
        let marked = self.writer.write(move |connection| {
            let marked = connection.immediate_transaction(|connection| {
                mark_read(connection, room_id, &user_id, position)
            });
            let (moved, found) = marked.map_err(StorageError::unavailable)?;
            Ok(MarkedRead {
                state: rows::read_state(found)?,
                moved,
            })
        });
        marked.await
    }
}

/// A room's newest position and a user's read pointer.
type ReadStateRow = (i64, Option<i64>);

fn read_state(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    user_id: &UserId,
) -> QueryResult<Option<ReadStateRow>> {
    let pointer = read_pointers::room_id
        .eq(rooms::id)
        .and(read_pointers::user_id.eq(user_id.as_str()));
    rooms::table
        .left_join(read_pointers::table.on(pointer))
        .filter(rooms::id.eq(rows::number(room_id.get())))
        .select((rooms::last_seq, read_pointers::seq.nullable()))
        .first(connection)
        .optional()
}

/// Moves a pointer forward, at most to the room's newest position. The transaction holds
/// the write lock, so nothing changes between the read and the write.
fn mark_read(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    user_id: &UserId,
    position: Seq,
) -> QueryResult<(bool, Option<ReadStateRow>)> {
    let Some((newest, read)) = read_state(connection, room_id, user_id)? else {
        return Ok((false, None));
    };
    let target = rows::number(position.get()).min(newest);
    if target <= read.unwrap_or_default() {
        return Ok((false, Some((newest, read))));
    }
    diesel::insert_into(read_pointers::table)
        .values((
            read_pointers::room_id.eq(rows::number(room_id.get())),
            read_pointers::user_id.eq(user_id.as_str()),
            read_pointers::seq.eq(target),
        ))
        .on_conflict((read_pointers::room_id, read_pointers::user_id))
        .do_update()
        .set(read_pointers::seq.eq(target))
        .execute(connection)?;
    Ok((true, Some((newest, Some(target)))))
}
