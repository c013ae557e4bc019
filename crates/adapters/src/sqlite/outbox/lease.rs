//! Takes leases and ends them. The transactions hold the write lock.

use chat_domain::StorageError;
use chat_domain::ports::{LeaseRequest, OutboxLease, OutboxPlace, Settlement};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Integer, Nullable, Text};

use super::{seconds, unread};
use crate::sqlite::room_directory::moment;
use crate::sqlite::rows;
use crate::stored_outbox::NextColumns;
use crate::stored_rules;

const IS_DUE: &str = "SELECT NOT EXISTS (SELECT 1 FROM outbox_state WHERE paused_at IS NOT NULL) \
     AND (EXISTS (SELECT 1 FROM outbox_rooms WHERE attempts = 0 \
     AND due_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) \
     OR EXISTS (SELECT 1 FROM outbox_rooms WHERE attempts > 0 \
     AND due_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) \
     OR EXISTS (SELECT 1 FROM unread_rooms WHERE is_blocked = 0 \
     AND stored_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ? || ' seconds'))) AS value";

const HELD: &str = "SELECT count(*) AS rooms, \
     count(*) FILTER (WHERE attempts > 0) AS in_retry \
     FROM outbox_rooms WHERE holder IS NOT NULL AND due_at > ?";

const LEASE: &str = "UPDATE outbox_rooms SET holder = ?1, \
     due_at = strftime('%Y-%m-%dT%H:%M:%fZ', ?2, ?3 || ' seconds') \
     WHERE room_id IN (SELECT room_id FROM (\
     SELECT * FROM (SELECT room_id, due_at FROM outbox_rooms \
     WHERE attempts = 0 AND due_at <= ?2 ORDER BY due_at LIMIT ?4) \
     UNION ALL \
     SELECT * FROM (SELECT room_id, due_at FROM outbox_rooms \
     WHERE attempts > 0 AND due_at <= ?2 ORDER BY due_at LIMIT ?5)) \
     ORDER BY due_at LIMIT ?4) \
     RETURNING room_id, attempts, \
     coalesce((julianday(?2) - julianday(failing_since)) * 86400.0, 0.0) AS failing_for";

const IS_HELD: &str =
    "SELECT EXISTS (SELECT 1 FROM outbox_rooms WHERE room_id = ? AND holder = ?) AS value";

/// What precedes the first place was parked and is to be delivered again.
const REMOVE: &str = "DELETE FROM outbox_events WHERE room_id = ?1 AND parked_at IS NULL \
     AND (id, user_id, first) >= (?2, ?3, ?4) \
     AND ((id, user_id) < (?5, ?6) OR ((id, user_id) = (?5, ?6) AND last <= ?7))";

const SHORTEN: &str = "UPDATE outbox_events SET first = ?7 + 1 \
     WHERE room_id = ?1 AND parked_at IS NULL AND id = ?5 AND user_id = ?6 AND first <= ?7 \
     AND (id, user_id, first) >= (?2, ?3, ?4)";

/// Separates what follows the place.
const SPLIT: &str = "INSERT INTO outbox_events \
     (room_id, id, user_id, first, last, kind, changed_by, recorded_at) \
     SELECT room_id, id, user_id, first + 1, last, kind, changed_by, recorded_at \
     FROM outbox_events WHERE room_id = ? AND id = ? AND user_id = ? AND first = ? \
     AND parked_at IS NULL AND last > first";

const PARK: &str = "UPDATE outbox_events SET last = first, parked_at = ?5, reason = ?6 \
     WHERE room_id = ?1 AND id = ?2 AND user_id = ?3 AND first = ?4 AND parked_at IS NULL";

const SETTLE: &str = "UPDATE outbox_rooms SET holder = NULL, \
     due_at = strftime('%Y-%m-%dT%H:%M:%fZ', ?2, ?3 || ' seconds'), attempts = ?4, \
     failing_since = CASE ?4 WHEN 0 THEN NULL WHEN 1 THEN ?2 ELSE failing_since END, \
     reason = CASE WHEN ?4 > 0 THEN ?5 END \
     WHERE room_id = ?1 AND EXISTS (\
     SELECT 1 FROM outbox_events WHERE room_id = ?1 AND parked_at IS NULL)";

const FINISH: &str = "DELETE FROM outbox_rooms WHERE room_id = ?";

const UNBLOCK: &str = "UPDATE unread_rooms SET is_blocked = 0 WHERE room_id = ? AND is_blocked = 1";

#[derive(QueryableByName)]
struct FlagRow {
    #[diesel(sql_type = Bool)]
    value: bool,
}

#[derive(QueryableByName)]
struct HeldRow {
    #[diesel(sql_type = BigInt)]
    rooms: i64,
    #[diesel(sql_type = BigInt)]
    in_retry: i64,
}

/// A room that is leased now.
#[derive(QueryableByName)]
pub(super) struct LeaseRow {
    #[diesel(sql_type = BigInt)]
    room_id: i64,
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = Double)]
    failing_for: f64,
}

impl LeaseRow {
    pub(super) fn lease(self) -> Result<OutboxLease, StorageError> {
        Ok(OutboxLease {
            room_id: stored_rules::room_id(self.room_id)?,
            attempts: self.attempts.try_into().map_err(StorageError::corrupt)?,
            failing_for: seconds(self.failing_for),
        })
    }
}

/// Returns whether a room is due, and deliveries are not paused.
pub(super) fn is_due(
    connection: &mut SqliteConnection,
    request: &LeaseRequest,
) -> QueryResult<bool> {
    let due = diesel::sql_query(IS_DUE)
        .bind::<Double, _>(-request.notify_after.as_secs_f64())
        .get_result::<FlagRow>(connection)?;
    Ok(due.value)
}

pub(super) fn lease(
    connection: &mut SqliteConnection,
    request: &LeaseRequest,
) -> QueryResult<Vec<LeaseRow>> {
    if !is_due(connection, request)? {
        return Ok(Vec::new());
    }
    let moment = moment(connection)?;
    let held = diesel::sql_query(HELD).bind::<Text, _>(&moment);
    let held = held.get_result::<HeldRow>(connection)?;
    let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let free = (number(request.in_flight) - held.rooms).clamp(0, number(request.most));
    let free_in_retry = (number(request.in_retry) - held.in_retry).clamp(0, free);
    unread::report(connection, request, &moment, free, free_in_retry)?;
    diesel::sql_query(LEASE)
        .bind::<BigInt, _>(request.holder.0)
        .bind::<Text, _>(&moment)
        .bind::<Double, _>(request.time.as_secs_f64())
        .bind::<BigInt, _>(free)
        .bind::<BigInt, _>(free_in_retry)
        .load(connection)
}

pub(super) fn settle(
    connection: &mut SqliteConnection,
    settlement: Settlement,
) -> QueryResult<bool> {
    let room = rows::number(settlement.room_id.get());
    let held = diesel::sql_query(IS_HELD)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(settlement.holder.0);
    if !held.get_result::<FlagRow>(connection)?.value {
        return Ok(false);
    }
    if let Some((from, to)) = &settlement.delivered {
        for statement in [REMOVE, SHORTEN] {
            remove(connection, statement, room, from, to)?;
        }
    }
    let moment = moment(connection)?;
    let next = NextColumns::new(settlement.next);
    if let Some(place) = &next.parked {
        park(connection, room, place, &moment, next.reason.as_deref())?;
    }
    if next.attempts == 0 {
        let unblock = diesel::sql_query(UNBLOCK).bind::<BigInt, _>(room);
        unblock.execute(connection)?;
    }
    let is_left = diesel::sql_query(SETTLE)
        .bind::<BigInt, _>(room)
        .bind::<Text, _>(&moment)
        .bind::<Double, _>(next.seconds)
        .bind::<Integer, _>(next.attempts)
        .bind::<Nullable<Text>, _>(&next.reason)
        .execute(connection)?;
    if is_left == 0 {
        let finish = diesel::sql_query(FINISH).bind::<BigInt, _>(room);
        finish.execute(connection)?;
    }
    Ok(true)
}

/// Carries out a statement about what was delivered.
fn remove(
    connection: &mut SqliteConnection,
    statement: &'static str,
    room: i64,
    from: &OutboxPlace,
    to: &OutboxPlace,
) -> QueryResult<usize> {
    diesel::sql_query(statement)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(rows::number(from.record))
        .bind::<Text, _>(&from.user_id)
        .bind::<BigInt, _>(rows::number(from.number))
        .bind::<BigInt, _>(rows::number(to.record))
        .bind::<Text, _>(&to.user_id)
        .bind::<BigInt, _>(rows::number(to.number))
        .execute(connection)
}

fn park(
    connection: &mut SqliteConnection,
    room: i64,
    place: &OutboxPlace,
    moment: &str,
    reason: Option<&str>,
) -> QueryResult<()> {
    diesel::sql_query(SPLIT)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(rows::number(place.record))
        .bind::<Text, _>(&place.user_id)
        .bind::<BigInt, _>(rows::number(place.number))
        .execute(connection)?;
    diesel::sql_query(PARK)
        .bind::<BigInt, _>(room)
        .bind::<BigInt, _>(rows::number(place.record))
        .bind::<Text, _>(&place.user_id)
        .bind::<BigInt, _>(rows::number(place.number))
        .bind::<Text, _>(moment)
        .bind::<Nullable<Text>, _>(reason)
        .execute(connection)
        .map(drop)
}
