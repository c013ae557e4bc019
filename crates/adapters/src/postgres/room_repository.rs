//! How far rooms have come and have been read, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::{
    ReadState, RoomId, Seq, StorageError, UserId,
    ports::{MarkedRead, RoomRepository},
};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::schema::{read_pointers, rooms};
use super::{Database, pool, rows};

#[async_trait]
impl RoomRepository for Database {
    async fn newest(&self, room_ids: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, StorageError> {
        let ids: Vec<i64> = room_ids.iter().map(|id| rows::number(id.get())).collect();
        let connection = pool::checkout(&self.pool).await?;
        let found = pool::run(connection, async |connection| {
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

    async fn read_state(
        &self,
        room_id: RoomId,
        user_id: &UserId,
    ) -> Result<ReadState, StorageError> {
        let connection = pool::checkout(&self.pool).await?;
        let found = pool::run(connection, async |connection| {
            read_state(connection, room_id, user_id).await
        });
        rows::read_state(found.await?)
    }

    async fn mark_read(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        position: Seq,
    ) -> Result<MarkedRead, StorageError> {
        let mark = MarkRead {
            room_id: rows::number(room_id.get()),
            user_id: user_id.as_str(),
            position: rows::number(position.get()),
        };
        let connection = pool::checkout(&self.pool).await?;
        let marked = pool::run(connection, async |connection| {
            let moved = mark.get_result::<i64>(connection).await.optional()?;
            Ok((moved, read_state(connection, room_id, user_id).await?))
        });
        let (moved, found) = marked.await?;
        Ok(MarkedRead {
            state: rows::read_state(found)?,
            moved: moved.is_some(),
        })
    }
}

async fn read_state(
    connection: &mut AsyncPgConnection,
    room_id: RoomId,
    user_id: &UserId,
) -> QueryResult<Option<(i64, Option<i64>)>> {
    let pointer = read_pointers::room_id
        .eq(rooms::id)
        .and(read_pointers::user_id.eq(user_id.as_str()));
    rooms::table
        .left_join(read_pointers::table.on(pointer))
        .filter(rooms::id.eq(rows::number(room_id.get())))
        .select((rooms::last_seq, read_pointers::seq.nullable()))
        .first(connection)
        .await
        .optional()
}

/// Moves a pointer forward, to the room's newest message at the most; returns it
/// if it moved. One statement is one transaction.
struct MarkRead<'a> {
    room_id: i64,
    user_id: &'a str,
    position: i64,
}

impl QueryFragment<Pg> for MarkRead<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("INSERT INTO read_pointers (room_id, user_id, seq) SELECT id, ");
        out.push_bind_param::<Text, _>(self.user_id)?;
        out.push_sql(", LEAST(last_seq, ");
        out.push_bind_param::<BigInt, _>(&self.position)?;
        out.push_sql(") FROM rooms WHERE id = ");
        out.push_bind_param::<BigInt, _>(&self.room_id)?;
        out.push_sql(
            " ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq \
             WHERE read_pointers.seq < excluded.seq RETURNING seq",
        );
        Ok(())
    }
}

impl QueryId for MarkRead<'_> {
    type QueryId = MarkRead<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for MarkRead<'_> {
    type SqlType = BigInt;
}
