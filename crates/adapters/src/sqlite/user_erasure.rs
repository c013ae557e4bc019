//! Erases users, on SQLite.
//!
//! A request and a batch are each a transaction of the one task that writes. A batch does what the
//! function `erase_user_batch` does on PostgreSQL.

mod batch;

use async_trait::async_trait;
use chat_domain::ports::{AuthoredMessages, ErasureBatch, UserErasure};
use chat_domain::{RoomId, StorageError, UserId};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::store::transaction;
use super::{Database, rows};
use crate::group_commit::StoreError;
use crate::stored_users;

const REQUEST: &str = "INSERT INTO user_erasures (user_id, messages, requested_at) \
     VALUES (?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) \
     ON CONFLICT (user_id) DO UPDATE SET \
     messages = CASE messages WHEN 'erase' THEN messages ELSE excluded.messages END, \
     requested_at = excluded.requested_at, step = 0, room_id = 0, seq = 0";

const STANDING: &str = "SELECT room_id FROM (\
     SELECT room_id FROM members WHERE user_id = ?1 UNION \
     SELECT room_id FROM bans WHERE user_id = ?1 UNION \
     SELECT room_id FROM mutes WHERE user_id = ?1 UNION \
     SELECT room_id FROM slow_mode_turns WHERE user_id = ?1) \
     ORDER BY room_id LIMIT ?2";

const FORGET: [&str; 4] = [
    "DELETE FROM bans WHERE room_id = ?1 AND user_id = ?2",
    "DELETE FROM mutes WHERE room_id = ?1 AND user_id = ?2",
    "DELETE FROM slow_mode_turns WHERE room_id = ?1 AND user_id = ?2",
    "DELETE FROM members WHERE room_id = ?1 AND user_id = ?2 \
     AND EXISTS (SELECT 1 FROM rooms WHERE id = ?1 AND generation > rules)",
];

const END: &str = "DELETE FROM user_erasures WHERE user_id = ? AND step = 5 \
     AND requested_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-30 seconds')";

/// A user with messages or a membership from after the erasure counts as new and keeps its name.
const FINISH: [&str; 9] = [
    "DELETE FROM users WHERE id = ?1 \
     AND NOT EXISTS (SELECT 1 FROM read_pointers WHERE user_id = ?1) \
     AND NOT EXISTS (SELECT 1 FROM members WHERE user_id = ?1)",
    "UPDATE users SET last_seen_at = NULL WHERE id = ?1 AND last_seen_at IS NOT NULL",
    "DELETE FROM revocations WHERE user_id = ?1",
    "DELETE FROM disconnections WHERE user_id = ?1",
    "UPDATE member_changes SET user_id = 'deleted' WHERE user_id = ?1",
    "DELETE FROM outbox_events WHERE user_id = ?1 AND kind = 'member.changed'",
    "UPDATE outbox_events SET changed_by = 'deleted' WHERE changed_by = ?1",
    // Each is stored under the first of its users.
    "DELETE FROM outbox_events \
     WHERE kind = 'messages.unread' AND user_ids = json_array(?1)",
    "UPDATE outbox_events SET (user_ids, user_id) = \
     (SELECT json_group_array(value), min(value) FROM json_each(user_ids) WHERE value <> ?1) \
     WHERE kind = 'messages.unread' AND ?1 IN (SELECT value FROM json_each(user_ids))",
];

#[derive(QueryableByName)]
struct RoomRow {
    #[diesel(sql_type = BigInt)]
    room_id: i64,
}

#[async_trait]
impl UserErasure for Database {
    async fn request(
        &self,
        user_id: &UserId,
        messages: AuthoredMessages,
    ) -> Result<(), StorageError> {
        let user_id = user_id.clone();
        let written = self.write(move |connection| {
            diesel::sql_query(REQUEST)
                .bind::<Text, _>(user_id.as_str())
                .bind::<Text, _>(messages.as_str())
                .execute(connection)
        });
        written.await.map(drop)
    }

    async fn erase_batch(&self, size: usize) -> Result<Option<ErasureBatch>, StorageError> {
        // Looking for work must not wait for the writer.
        let due = self.pool.read(|connection| {
            let due = batch::next_due(connection);
            due.map_err(StorageError::unavailable)
        });
        if due.await?.is_none() {
            return Ok(None);
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let kinds = self.recorded();
        let batch = self.write(move |connection| batch::erase(connection, kinds, size));
        batch.await?.map(stored_users::batch).transpose()
    }

    async fn standing(&self, user_id: &UserId, limit: usize) -> Result<Vec<RoomId>, StorageError> {
        let user_id = user_id.clone();
        let size = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = self.pool.read(move |connection| {
            diesel::sql_query(STANDING)
                .bind::<Text, _>(user_id.as_str())
                .bind::<BigInt, _>(size)
                .load::<RoomRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let rooms = read.await?.into_iter();
        rooms.map(|row| rows::room(row.room_id)).collect()
    }

    async fn forget_standing(&self, user_id: &UserId, room_id: RoomId) -> Result<(), StorageError> {
        let user_id = user_id.clone();
        let room = rows::number(room_id.get());
        let written = self.write(move |connection| {
            for statement in FORGET {
                diesel::sql_query(statement)
                    .bind::<BigInt, _>(room)
                    .bind::<Text, _>(user_id.as_str())
                    .execute(connection)?;
            }
            Ok(())
        });
        written.await
    }

    async fn finish(&self, user_id: &UserId) -> Result<bool, StorageError> {
        let user_id = user_id.clone();
        let written = self.writer.write(move |connection| {
            // `messages` refers to its authors without an index: to check that none refers to this
            // one would read all messages. Those of the user have a read pointer, which is checked
            // instead. A connection that fails in between is not used again.
            let set = |connection: &mut SqliteConnection, on| {
                let pragma = format!("PRAGMA foreign_keys = {on}");
                let set = connection.batch_execute(&pragma);
                set.map_err(StorageError::unavailable)
            };
            set(connection, "OFF")?;
            let finished = transaction(connection, |connection| finish(connection, &user_id));
            let finished = finished.map_err(|error| match error {
                StoreError::Whole(error) => error,
                StoreError::Row(error) => StorageError::unavailable(error),
                StoreError::Repeat => StorageError::unavailable("a row exists already"),
            })?;
            set(connection, "ON")?;
            Ok(finished)
        });
        written.await
    }
}

fn finish(connection: &mut SqliteConnection, user_id: &UserId) -> QueryResult<bool> {
    let ended = diesel::sql_query(END)
        .bind::<Text, _>(user_id.as_str())
        .execute(connection)?;
    if ended == 0 {
        return Ok(false);
    }
    for statement in FINISH {
        diesel::sql_query(statement)
            .bind::<Text, _>(user_id.as_str())
            .execute(connection)?;
    }
    Ok(true)
}
