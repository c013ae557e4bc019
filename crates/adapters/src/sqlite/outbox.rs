//! What has to be reported to the product's backend, on SQLite.
//!
//! Leases are taken and ended by transactions of the one task that writes, which do what the
//! functions `lease_outbox` and `settle_outbox` do on PostgreSQL.

mod lease;
pub(super) mod record;
mod unread;

use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    Backlog, LeaseRequest, Outbox, OutboxEntry, OutboxLease, OutboxPlace, ParkedEntry, Settlement,
    UnreadReport,
};
use chat_domain::{Member, RoomId, StorageError, Timestamp, UserId};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text};

use super::{Database, room_directory, rows};
use crate::stored_outbox::{self, EntryColumns, ParkedColumns};
use crate::stored_rules;

const RESUME: [&str; 2] = [
    "UPDATE outbox_state SET paused_at = NULL WHERE paused_at IS NOT NULL",
    "UPDATE outbox_rooms SET holder = NULL, due_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') \
     WHERE holder IS NOT NULL",
];

const PAUSE: &str = "UPDATE outbox_state SET paused_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') \
     WHERE paused_at IS NULL";

const ENTRIES: &str = "SELECT id, user_id, first, last, kind, changed_by, recorded_at, EXISTS (\
     SELECT 1 FROM outbox_events AS later WHERE later.room_id = entry.room_id \
     AND later.id > entry.id AND later.kind IN ('room.deleted', 'fence')) AS is_of_deleted_room \
     FROM outbox_events AS entry WHERE room_id = ? AND parked_at IS NULL \
     ORDER BY id, user_id, first LIMIT ?";

const BACKLOG: &str = "SELECT \
     (SELECT coalesce(sum(entries), 0) FROM (SELECT last - first + 1 AS entries \
     FROM outbox_events WHERE parked_at IS NULL ORDER BY recorded_at LIMIT ?1)) AS pending, \
     (SELECT count(*) FROM (SELECT 1 FROM outbox_events \
     WHERE parked_at IS NOT NULL ORDER BY parked_at LIMIT ?1)) AS parked, \
     coalesce((julianday('now') - julianday((SELECT recorded_at FROM outbox_events \
     WHERE parked_at IS NULL ORDER BY recorded_at LIMIT 1))) * 86400.0, 0.0) AS age, \
     EXISTS (SELECT 1 FROM outbox_state WHERE paused_at IS NOT NULL) AS is_paused";

const PARKED: &str = "SELECT room_id, kind, coalesce(unread_seq, first) AS first, recorded_at, \
     parked_at, reason \
     FROM outbox_events WHERE parked_at IS NOT NULL ORDER BY parked_at LIMIT ?";

/// In this order: the rooms of parked entries become due, the entries are not parked any more, the
/// rooms that were failing anyway become due, and they are not blocked any more.
const RETRY: [&str; 4] = [
    "INSERT INTO outbox_rooms (room_id, due_at) \
     SELECT DISTINCT room_id, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM outbox_events \
     WHERE parked_at IS NOT NULL ON CONFLICT (room_id) DO NOTHING",
    "UPDATE outbox_events SET parked_at = NULL, reason = NULL WHERE parked_at IS NOT NULL",
    "UPDATE outbox_rooms SET due_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), attempts = 0, \
     failing_since = NULL WHERE attempts > 0 AND holder IS NULL",
    "UPDATE unread_rooms SET is_blocked = 0 WHERE is_blocked = 1",
];

#[derive(QueryableByName)]
struct EntryRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = BigInt)]
    first: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    changed_by: Option<String>,
    #[diesel(sql_type = Text)]
    recorded_at: String,
    #[diesel(sql_type = Bool)]
    is_of_deleted_room: bool,
}

#[derive(QueryableByName)]
struct BacklogRow {
    #[diesel(sql_type = BigInt)]
    pending: i64,
    #[diesel(sql_type = BigInt)]
    parked: i64,
    #[diesel(sql_type = Double)]
    age: f64,
    #[diesel(sql_type = Bool)]
    is_paused: bool,
}

#[derive(QueryableByName)]
struct ParkedRow {
    #[diesel(sql_type = BigInt)]
    room_id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    first: i64,
    #[diesel(sql_type = Text)]
    recorded_at: String,
    #[diesel(sql_type = Text)]
    parked_at: String,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
}

#[async_trait]
impl Outbox for Database {
    async fn resume(&self) -> Result<(), StorageError> {
        let resumed = self.write(|connection| {
            for statement in RESUME {
                diesel::sql_query(statement).execute(connection)?;
            }
            Ok(())
        });
        resumed.await
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<OutboxLease>, StorageError> {
        // Looking for work must not wait for the writer.
        let due = self.pool.read(move |connection| {
            let due = lease::is_due(connection, &request);
            due.map_err(StorageError::unavailable)
        });
        if !due.await? {
            return Ok(Vec::new());
        }
        let leased = self.write_lazily(move |connection| lease::lease(connection, &request));
        let leases = leased.await?.into_iter().map(lease::LeaseRow::lease);
        leases.collect()
    }

    async fn entries(
        &self,
        room_id: RoomId,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StorageError> {
        let size = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = self.pool.read(move |connection| {
            diesel::sql_query(ENTRIES)
                .bind::<BigInt, _>(rows::number(room_id.get()))
                .bind::<BigInt, _>(size)
                .load::<EntryRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let entries = read.await?.into_iter().map(|row| {
            stored_outbox::entry(EntryColumns {
                id: row.id,
                user_id: row.user_id,
                first: row.first,
                last: row.last,
                kind: row.kind,
                changed_by: row.changed_by,
                recorded_at: time(&row.recorded_at)?,
                is_of_deleted_room: row.is_of_deleted_room,
            })
        });
        entries.collect()
    }

    async fn member(
        &self,
        room_id: RoomId,
        user_id: &UserId,
    ) -> Result<Option<Member>, StorageError> {
        let user_id = user_id.clone();
        let read = self.pool.read(move |connection| {
            let room = rows::number(room_id.get());
            room_directory::moment(connection)
                .and_then(|moment| room_directory::member(connection, room, &user_id, &moment))
                .map_err(StorageError::unavailable)
        });
        let member = read.await?.map(room_directory::to_member);
        member.transpose()
    }

    async fn unread(
        &self,
        room_id: RoomId,
        place: &OutboxPlace,
    ) -> Result<Option<UnreadReport>, StorageError> {
        let place = place.clone();
        let read = self.pool.read(move |connection| {
            unread::unread(connection, rows::number(room_id.get()), &place)
        });
        read.await
    }

    async fn settle(&self, settlement: Settlement) -> Result<bool, StorageError> {
        let settled = self.write_lazily(move |connection| lease::settle(connection, settlement));
        settled.await
    }

    async fn pause(&self) -> Result<(), StorageError> {
        let paused = self.write(|connection| diesel::sql_query(PAUSE).execute(connection));
        paused.await.map(drop)
    }

    async fn backlog(&self) -> Result<Backlog, StorageError> {
        let read = self.pool.read(|connection| {
            diesel::sql_query(BACKLOG)
                .bind::<BigInt, _>(Backlog::COUNTED_ROWS)
                .get_result::<BacklogRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let row = read.await?;
        Ok(Backlog {
            pending: stored_rules::count(row.pending)?,
            parked: stored_rules::count(row.parked)?,
            age: seconds(row.age),
            is_paused: row.is_paused,
        })
    }

    async fn parked(&self, limit: usize) -> Result<Vec<ParkedEntry>, StorageError> {
        let size = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = self.pool.read(move |connection| {
            diesel::sql_query(PARKED)
                .bind::<BigInt, _>(size)
                .load::<ParkedRow>(connection)
                .map_err(StorageError::unavailable)
        });
        let parked = read.await?.into_iter().map(|row| {
            stored_outbox::parked(ParkedColumns {
                room_id: row.room_id,
                kind: row.kind,
                first: row.first,
                recorded_at: time(&row.recorded_at)?,
                parked_at: time(&row.parked_at)?,
                reason: row.reason,
            })
        });
        parked.collect()
    }

    async fn retry(&self) -> Result<u64, StorageError> {
        let retried = self.write(|connection| {
            diesel::sql_query(RESUME[0]).execute(connection)?;
            let [due, release, again, unblock] = RETRY;
            diesel::sql_query(due).execute(connection)?;
            let parked = diesel::sql_query(release).execute(connection)?;
            diesel::sql_query(again).execute(connection)?;
            diesel::sql_query(unblock).execute(connection)?;
            Ok(parked)
        });
        Ok(retried.await? as u64)
    }
}

impl Database {
    /// Carries out a transaction that does not wait for the disk: the next one that does takes it
    /// along. What a power failure undoes is delivered again. So the deliveries of many rooms do
    /// not keep messages waiting.
    async fn write_lazily<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let written = self.writer.write(move |connection| {
            // After a failure in between, the connection is not used again.
            set_synchronous(connection, "NORMAL")?;
            let outcome = room_directory::in_transaction(connection, work)?;
            set_synchronous(connection, "FULL")?;
            Ok(outcome)
        });
        written.await
    }
}

fn set_synchronous(connection: &mut SqliteConnection, level: &str) -> Result<(), StorageError> {
    connection
        .batch_execute(&format!("PRAGMA synchronous = {level}"))
        .map_err(StorageError::unavailable)
}

fn time(text: &str) -> Result<Timestamp, StorageError> {
    text.parse().map_err(StorageError::corrupt)
}

/// Converts a time span; a clock that was set back makes it 0.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.max(0.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chat_domain::ports::{LeaseHolder, NextDelivery};

    use super::*;

    #[derive(QueryableByName)]
    struct LevelRow {
        #[diesel(sql_type = BigInt)]
        synchronous: i64,
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn messages_are_as_durable_after_a_delivery_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("chat.db"), 1).unwrap();
        database.migrate().await.unwrap();
        let level = async || {
            let read = database.writer.write(|connection| {
                let level = diesel::sql_query("PRAGMA synchronous");
                let level = level.get_result::<LevelRow>(connection);
                level.map_err(StorageError::unavailable)
            });
            read.await.unwrap().synchronous
        };
        let before = level().await;
        let settlement = Settlement {
            holder: LeaseHolder(1),
            room_id: RoomId::new(1).unwrap(),
            delivered: None,
            next: NextDelivery::Now,
        };
        assert!(!database.settle(settlement).await.unwrap());
        assert_eq!(level().await, before);
        // FULL.
        assert_eq!(before, 2);
    }
}
