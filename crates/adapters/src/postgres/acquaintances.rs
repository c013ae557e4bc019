//! Which users share rooms, and when users were last seen, on PostgreSQL.

use async_trait::async_trait;
use chat_domain::ports::{Acquaintance, Acquaintances, LastSeen};
use chat_domain::{DisplayName, RoomAccess, StorageError, UserId};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use diesel::{IntoSql as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

use super::statement::Statement;
use super::{Database, rows};
use crate::stored_inbox;

/// The rooms of the others are compared with a hash of the user's own. A room that is being
/// deleted, whose generation has not begun, does not count.
const AMONG: (&str, &str) = (
    "WITH ask (user_id, allowed, others) AS (VALUES (",
    ")), mine AS MATERIALIZED (\
     SELECT room_id FROM members WHERE user_id = (SELECT user_id FROM ask) \
     AND ((SELECT allowed FROM ask) IS NULL OR room_id = ANY ((SELECT allowed FROM ask)::bigint[])) \
     AND EXISTS (SELECT FROM rooms WHERE rooms.id = room_id AND generation <= rules)) \
     SELECT EXISTS (SELECT FROM members AS theirs WHERE theirs.user_id = other.id \
     AND theirs.room_id IN (SELECT room_id FROM mine)) AS shares, \
     (SELECT last_seen_at FROM users WHERE users.id = other.id) AS last_seen_at \
     FROM unnest((SELECT others FROM ask)) WITH ORDINALITY AS other (id, place) ORDER BY place",
);

/// The rows are locked in the order in which appends lock them.
const NOTE_SEEN: (&str, &str) = (
    "WITH ask (ids, names, times) AS (VALUES (",
    ")), written AS (\
     INSERT INTO users AS known (id, name, last_seen_at) \
     SELECT id, name, at FROM (\
     SELECT seen.id, coalesce(seen.name, \
     (SELECT users.name FROM users WHERE users.id = seen.id)) AS name, seen.at \
     FROM ask, unnest(ids, names, times) AS seen (id, name, at)) AS seen \
     WHERE name IS NOT NULL ORDER BY id \
     ON CONFLICT (id) DO UPDATE SET last_seen_at = CASE WHEN excluded.last_seen_at IS NOT NULL \
     THEN greatest(known.last_seen_at, excluded.last_seen_at) END \
     RETURNING id) SELECT count(*) AS written FROM written",
);

#[derive(QueryableByName)]
struct AmongRow {
    #[diesel(sql_type = Bool)]
    shares: bool,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    last_seen_at: Option<PgTimestamp>,
}

#[derive(QueryableByName)]
struct WrittenRow {
    #[diesel(sql_type = BigInt)]
    #[allow(dead_code, reason = "a statement that writes has to have a row")]
    written: i64,
}

#[async_trait]
impl Acquaintances for Database {
    async fn among(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
        others: &[UserId],
    ) -> Result<Vec<Option<Acquaintance>>, StorageError> {
        let user_id = user_id.as_str().to_owned();
        let allowed = stored_inbox::allowed(access);
        let others: Vec<String> = others.iter().map(|id| id.as_str().to_owned()).collect();
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: AMONG.0,
                parameters: (
                    user_id.into_sql::<Text>(),
                    allowed.into_sql::<Nullable<Array<BigInt>>>(),
                    others.into_sql::<Array<Text>>(),
                ),
                after: AMONG.1,
            };
            Box::pin(query.load::<AmongRow>(session))
        });
        let found = read.await?.into_iter().map(|row| {
            let last_seen = row.last_seen_at.map(rows::timestamp);
            Ok(row.shares.then_some(Acquaintance { last_seen }))
        });
        found.collect()
    }

    async fn note_seen(&self, seen: &[LastSeen]) -> Result<(), StorageError> {
        let ids = seen.iter().map(|seen| seen.user_id.as_str().to_owned());
        let name = |name: &DisplayName| name.as_str().to_owned();
        let names = seen.iter().map(|seen| seen.name.as_ref().map(name));
        let times = seen.iter().map(|seen| seen.at.map(rows::pg_timestamp));
        let call = Statement {
            before: NOTE_SEEN.0,
            parameters: (
                ids.collect::<Vec<_>>().into_sql::<Array<Text>>(),
                names
                    .collect::<Vec<_>>()
                    .into_sql::<Array<Nullable<Text>>>(),
                times
                    .collect::<Vec<_>>()
                    .into_sql::<Array<Nullable<Timestamptz>>>(),
            ),
            after: NOTE_SEEN.1,
        };
        self.pool.call::<WrittenRow, _>(call).await?;
        Ok(())
    }
}
