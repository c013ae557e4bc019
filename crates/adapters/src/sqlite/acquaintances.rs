//! Which users share rooms, and when users were last seen, on SQLite.

use async_trait::async_trait;
use chat_domain::ports::{Acquaintance, Acquaintances, LastSeen};
use chat_domain::{DisplayName, RoomAccess, StorageError, UserId};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};

use super::Database;
use crate::stored_inbox;

/// A room that is being deleted, whose generation has not begun, does not count.
const AMONG: &str = "WITH mine AS MATERIALIZED (\
     SELECT room_id FROM members WHERE user_id = ?1 \
     AND (?2 IS NULL OR room_id IN (SELECT value FROM json_each(?2))) \
     AND EXISTS (SELECT 1 FROM rooms WHERE rooms.id = room_id AND generation <= rules)) \
     SELECT EXISTS (SELECT 1 FROM members AS theirs WHERE theirs.user_id = other.value \
     AND theirs.room_id IN (SELECT room_id FROM mine)) AS shares, \
     (SELECT last_seen_at FROM users WHERE users.id = other.value) AS last_seen_at \
     FROM json_each(?3) AS other ORDER BY other.key";

/// The times of a row have one format, so that texts compare as times.
const NOTE_SEEN: &str = "INSERT INTO users (id, name, last_seen_at) \
     SELECT seen.id, seen.name, seen.at FROM (SELECT ?1 AS id, \
     coalesce(?2, (SELECT known.name FROM users AS known WHERE known.id = ?1)) AS name, \
     ?3 AS at) AS seen WHERE seen.name IS NOT NULL \
     ON CONFLICT (id) DO UPDATE SET last_seen_at = CASE WHEN excluded.last_seen_at IS NOT NULL \
     THEN max(coalesce(last_seen_at, ''), excluded.last_seen_at) END";

#[derive(QueryableByName)]
struct AmongRow {
    #[diesel(sql_type = Bool)]
    shares: bool,
    #[diesel(sql_type = Nullable<Text>)]
    last_seen_at: Option<String>,
}

#[async_trait]
impl Acquaintances for Database {
    async fn among(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
        others: &[UserId],
    ) -> Result<Vec<Option<Acquaintance>>, StorageError> {
        let user_id = user_id.clone();
        let allowed = stored_inbox::allowed(access);
        let allowed = allowed.map(|allowed| format!("{allowed:?}"));
        let others: Vec<&str> = others.iter().map(UserId::as_str).collect();
        let others = serde_json::to_string(&others).map_err(StorageError::corrupt)?;
        let read = self.pool.read(move |connection| {
            diesel::sql_query(AMONG)
                .bind::<Text, _>(user_id.as_str())
                .bind::<Nullable<Text>, _>(allowed)
                .bind::<Text, _>(others)
                .load::<AmongRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let found = read.await?.into_iter().map(|row| {
            let last_seen = row.last_seen_at.map(|at| at.parse());
            let last_seen = last_seen.transpose().map_err(StorageError::corrupt)?;
            Ok(row.shares.then_some(Acquaintance { last_seen }))
        });
        found.collect()
    }

    async fn note_seen(&self, seen: &[LastSeen]) -> Result<(), StorageError> {
        let seen = seen.to_vec();
        let written = self.write(move |connection| {
            for LastSeen { user_id, name, at } in &seen {
                diesel::sql_query(NOTE_SEEN)
                    .bind::<Text, _>(user_id.as_str())
                    .bind::<Nullable<Text>, _>(name.as_ref().map(DisplayName::as_str))
                    .bind::<Nullable<Text>, _>(at.map(|at| at.to_string()))
                    .execute(connection)?;
            }
            Ok(())
        });
        written.await
    }
}
