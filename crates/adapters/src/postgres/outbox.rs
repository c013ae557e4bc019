//! What has to be reported to the product's backend, on PostgreSQL.
//!
//! Recording is a matter of triggers and of the statements that change rooms; see the migration
//! `0019_webhooks`. To take leases and to end one is each one call of a function of the database,
//! in autocommit: a node that is paused or cut off keeps nothing locked.
//!
//! A batch of messages is one row of `outbox_log`. Sorting by rooms, which costs more, is left to
//! the nodes that deliver.
//!
//! Plans (PostgreSQL 15; 1 million entries in 100,000 rooms, of which 10,000 fail and 10 are held):
//!
//! ```text
//! ENTRIES, 0.2 ms:
//! Limit (actual rows=10 loops=1)
//!   ->  Index Scan using outbox_events_pkey on outbox_events entry (actual rows=10 loops=1)
//!         ->  Index Only Scan using outbox_events_deletions (actual rows=0 loops=10)
//! LEASE, the choice of the rooms, 0.3 ms:
//! Update on outbox_rooms held (actual rows=22 loops=1)
//!   ->  Merge Append (actual rows=22 loops=1)
//!         ->  Index Scan using outbox_rooms_due_at (actual rows=19 loops=1)
//!         ->  Index Scan using outbox_rooms_in_retry (actual rows=4 loops=1)
//!   ->  Index Scan using outbox_rooms_pkey on outbox_rooms held (actual rows=22 loops=1)
//! BACKLOG, every five seconds, 107 ms:
//! Index Scan using outbox_events_recorded_at (actual rows=100000 loops=1)
//! ```

mod parameters;
mod unread;

use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    Backlog, LeaseRequest, Outbox, OutboxEntry, OutboxLease, OutboxPlace, ParkedEntry, Settlement,
    UnreadReport,
};
use chat_domain::{Member, RoomId, StorageError, UserId};
use diesel::pg::data_types::PgTimestamp;
use diesel::sql_types::{BigInt, Bool, Double, Integer, Nullable, Text, Timestamptz};
use diesel::{IntoSql as _, QueryableByName};
use diesel_async::RunQueryDsl as _;

use self::parameters::{PlaceColumns, statement};
use super::statement::Statement;
use super::{Database, rows};
use crate::stored_outbox::{self, EntryColumns, NextColumns, ParkedColumns};
use crate::stored_rules::{self, MemberColumns};

const LEASE: (&str, &str) = ("SELECT room, failed, failing_for FROM lease_outbox(", ")");
const SETTLE: (&str, &str) = ("SELECT settle_outbox(", ") AS value");
const RETRY: &str = "SELECT retry_outbox() AS value";
const RESUME: &str = "UPDATE outbox_state SET paused_at = NULL WHERE paused_at IS NOT NULL \
     RETURNING true AS value";

const PAUSE: &str = "UPDATE outbox_state SET paused_at = clock_timestamp() \
     WHERE paused_at IS NULL RETURNING true AS value";

const ENTRIES: (&str, &str) = (
    "WITH ask (room, size) AS (VALUES (",
    ")) SELECT id, user_id, first, last, kind, changed_by, recorded_at, EXISTS (\
     SELECT FROM outbox_events AS later WHERE later.room_id = entry.room_id \
     AND later.id > entry.id AND later.kind IN ('room.deleted', 'fence')) AS is_of_deleted_room \
     FROM outbox_events AS entry \
     WHERE room_id = (SELECT room FROM ask) AND parked_at IS NULL \
     ORDER BY id, user_id, first LIMIT (SELECT size FROM ask)",
);

const MEMBER: (&str, &str) = (
    "WITH ask (room, subject) AS (VALUES (",
    ")) SELECT user_id, (SELECT name FROM users WHERE id = user_id) AS user_name, role, \
     (SELECT coalesce(until, 'infinity') FROM mutes \
     WHERE mutes.room_id = member.room_id AND mutes.user_id = member.user_id \
     AND (until IS NULL OR until > now())) AS muted, joined_at \
     FROM members AS member \
     WHERE room_id = (SELECT room FROM ask) AND user_id = (SELECT subject FROM ask)",
);

const BACKLOG: (&str, &str) = (
    "WITH ask (rows) AS (VALUES (",
    ")), waiting AS (SELECT last - first + 1 AS entries FROM outbox_events \
     WHERE parked_at IS NULL ORDER BY recorded_at LIMIT (SELECT rows FROM ask)), \
     parked AS (SELECT FROM outbox_events \
     WHERE parked_at IS NOT NULL ORDER BY parked_at LIMIT (SELECT rows FROM ask)) \
     SELECT (SELECT coalesce(sum(entries), 0)::bigint FROM waiting) AS pending, \
     (SELECT count(*) FROM parked) AS parked, \
     coalesce(extract(epoch FROM clock_timestamp() - least(\
     (SELECT recorded_at FROM outbox_events WHERE parked_at IS NULL ORDER BY recorded_at LIMIT 1), \
     (SELECT recorded_at FROM outbox_log ORDER BY id LIMIT 1))), 0)::double precision AS age, \
     EXISTS (SELECT FROM outbox_state WHERE paused_at IS NOT NULL) AS is_paused",
);

const PARKED: (&str, &str) = (
    "WITH ask (size) AS (VALUES (",
    ")) SELECT room_id, kind, coalesce(unread_seq, first) AS first, recorded_at, parked_at, \
     reason FROM outbox_events \
     WHERE parked_at IS NOT NULL ORDER BY parked_at LIMIT (SELECT size FROM ask)",
);

#[derive(QueryableByName)]
struct LeaseRow {
    #[diesel(sql_type = BigInt)]
    room: i64,
    #[diesel(sql_type = Integer)]
    failed: i32,
    #[diesel(sql_type = Double)]
    failing_for: f64,
}

#[derive(QueryableByName)]
struct FlagRow {
    #[diesel(sql_type = Bool)]
    value: bool,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

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
    #[diesel(sql_type = Timestamptz)]
    recorded_at: PgTimestamp,
    #[diesel(sql_type = Bool)]
    is_of_deleted_room: bool,
}

#[derive(QueryableByName)]
struct MemberRow {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    user_name: Option<String>,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    muted: Option<PgTimestamp>,
    #[diesel(sql_type = Timestamptz)]
    joined_at: PgTimestamp,
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
    #[diesel(sql_type = Timestamptz)]
    recorded_at: PgTimestamp,
    #[diesel(sql_type = Timestamptz)]
    parked_at: PgTimestamp,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
}

#[async_trait]
impl Outbox for Database {
    /// Leases are left alone: they may be those of other nodes.
    async fn resume(&self) -> Result<(), StorageError> {
        let call = statement(RESUME);
        self.pool.call::<FlagRow, _>(call).await.map(drop)
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<OutboxLease>, StorageError> {
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let call = Statement {
            before: LEASE.0,
            parameters: (
                request.holder.0.into_sql::<BigInt>(),
                number(request.most).into_sql::<BigInt>(),
                number(request.in_flight).into_sql::<BigInt>(),
                number(request.in_retry).into_sql::<BigInt>(),
                request.time.as_secs_f64().into_sql::<Double>(),
                request.notify_after.as_secs_f64().into_sql::<Double>(),
            ),
            after: LEASE.1,
        };
        let leases = self.pool.call_for_rows::<LeaseRow, _>(call).await?;
        let leases = leases.into_iter().map(|row| {
            Ok(OutboxLease {
                room_id: stored_rules::room_id(row.room)?,
                attempts: row.failed.try_into().map_err(StorageError::corrupt)?,
                failing_for: seconds(row.failing_for),
            })
        });
        leases.collect()
    }

    async fn entries(
        &self,
        room_id: RoomId,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StorageError> {
        let size = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: ENTRIES.0,
                parameters: (
                    rows::number(room_id.get()).into_sql::<BigInt>(),
                    size.into_sql::<BigInt>(),
                ),
                after: ENTRIES.1,
            };
            Box::pin(query.load::<EntryRow>(session))
        });
        let entries = read.await?.into_iter().map(|row| {
            stored_outbox::entry(EntryColumns {
                id: row.id,
                user_id: row.user_id,
                first: row.first,
                last: row.last,
                kind: row.kind,
                changed_by: row.changed_by,
                recorded_at: rows::timestamp(row.recorded_at),
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
        let subject = user_id.as_str().to_owned();
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: MEMBER.0,
                parameters: (
                    rows::number(room_id.get()).into_sql::<BigInt>(),
                    subject.into_sql::<Text>(),
                ),
                after: MEMBER.1,
            };
            Box::pin(query.load::<MemberRow>(session))
        });
        let member = read.await?.pop().map(|row| {
            stored_rules::member(MemberColumns {
                user_id: row.user_id,
                name: row.user_name,
                role: row.role,
                muted: row.muted.map(rows::until),
                joined_at: rows::timestamp(row.joined_at),
            })
        });
        member.transpose()
    }

    async fn unread(
        &self,
        room_id: RoomId,
        place: &OutboxPlace,
    ) -> Result<Option<UnreadReport>, StorageError> {
        unread::unread(self, room_id, place).await
    }

    async fn settle(&self, settlement: Settlement) -> Result<bool, StorageError> {
        let next = NextColumns::new(settlement.next);
        let (from, to) = settlement
            .delivered
            .map(PlaceColumns::pair)
            .unwrap_or_default();
        let parked = next.parked.map(PlaceColumns::new).unwrap_or_default();
        let call = Statement {
            before: SETTLE.0,
            parameters: (
                rows::number(settlement.room_id.get()).into_sql::<BigInt>(),
                settlement.holder.0.into_sql::<BigInt>(),
                from.record.into_sql::<Nullable<BigInt>>(),
                from.user_id.into_sql::<Nullable<Text>>(),
                from.number.into_sql::<Nullable<BigInt>>(),
                to.record.into_sql::<Nullable<BigInt>>(),
                to.user_id.into_sql::<Nullable<Text>>(),
                to.number.into_sql::<Nullable<BigInt>>(),
                next.attempts.into_sql::<Integer>(),
                next.seconds.into_sql::<Double>(),
                next.reason.into_sql::<Nullable<Text>>(),
                parked.record.into_sql::<Nullable<BigInt>>(),
                parked.user_id.into_sql::<Nullable<Text>>(),
                parked.number.into_sql::<Nullable<BigInt>>(),
            ),
            after: SETTLE.1,
        };
        let row = self.pool.call::<FlagRow, _>(call).await?;
        Ok(row.is_some_and(|row| row.value))
    }

    async fn pause(&self) -> Result<(), StorageError> {
        let call = statement(PAUSE);
        self.pool.call::<FlagRow, _>(call).await.map(drop)
    }

    async fn backlog(&self) -> Result<Backlog, StorageError> {
        let read = self.pool.read(|session| {
            let query = Statement {
                before: BACKLOG.0,
                parameters: (Backlog::COUNTED_ROWS.into_sql::<BigInt>(),),
                after: BACKLOG.1,
            };
            Box::pin(query.get_result::<BacklogRow>(session))
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
        let read = self.pool.read(move |session| {
            let query = Statement {
                before: PARKED.0,
                parameters: (size.into_sql::<BigInt>(),),
                after: PARKED.1,
            };
            Box::pin(query.load::<ParkedRow>(session))
        });
        let parked = read.await?.into_iter().map(|row| {
            stored_outbox::parked(ParkedColumns {
                room_id: row.room_id,
                kind: row.kind,
                first: row.first,
                recorded_at: rows::timestamp(row.recorded_at),
                parked_at: rows::timestamp(row.parked_at),
                reason: row.reason,
            })
        });
        parked.collect()
    }

    async fn retry(&self) -> Result<u64, StorageError> {
        let call = statement(RETRY);
        let row = self.pool.call::<NumberRow, _>(call).await?;
        stored_rules::count(row.map_or(0, |row| row.value))
    }
}

/// Converts a time span; a clock that was set back makes it 0.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.max(0.0)).unwrap_or_default()
}
