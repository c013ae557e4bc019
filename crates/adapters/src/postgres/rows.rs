//! Conversion of rows to values, and back.

use std::time::SystemTime;

use chat_domain::{
    ClientMessageId, Generation, Message, MessageId, ReadState, RoomId, RoomState, RulesNumber,
    Seq, StorageError, Timestamp, Until, ports::RoomPosition,
};
use diesel::pg::data_types::PgTimestamp;
use tokio_postgres::Row;

use crate::stored_changes::{self, ChangesColumns};
use crate::stored_extras;

/// Milliseconds from 1970 to 2000, the epoch of PostgreSQL.
const EPOCH_MILLIS: i64 = 946_684_800_000;
/// Microseconds from 2000 to the year 294277, which PostgreSQL cannot represent.
const END_MICROS: i64 = 9_223_371_331_200_000_000;

/// A message with its author's name, if the author is stored: `id, room_id, seq, user_id,
/// name, content, client_message_id, created_at, extras`.
pub(super) type MessageRow = (
    i64,
    i64,
    i64,
    String,
    Option<String>,
    String,
    Option<String>,
    PgTimestamp,
    Option<String>,
);

/// What has become of a message: `rev, edited_at, deleted_at, erased_at, reactions`.
pub(super) type ChangesRow = (
    i64,
    Option<PgTimestamp>,
    Option<PgTimestamp>,
    Option<PgTimestamp>,
    Option<String>,
);

/// Converts a row with the columns of [`MessageRow`] and [`ChangesRow`] that the driver itself has read.
pub(super) fn from_driver(row: &Row) -> Result<Message, StorageError> {
    let user_id: String = row.get(3);
    let name: Option<String> = row.get(4);
    let rev: Option<i64> = row.get(9);
    let at = |column| {
        row.get::<_, Option<_>>(column)
            .map(from_system_time)
            .transpose()
    };
    let changes = match rev {
        Some(rev) => Some((rev, at(10)?, at(11)?, at(12)?, row.get(13))),
        None => None,
    };
    let message = (
        row.get(0),
        row.get(1),
        row.get(2),
        user_id,
        name,
        row.get(5),
        row.get(6),
        from_system_time(row.get(7))?,
        row.get(8),
    );
    self::message(message, changes)
}

fn from_system_time(at: SystemTime) -> Result<PgTimestamp, StorageError> {
    let millis = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()),
        Err(before) => i64::try_from(before.duration().as_millis()).map(|millis| -millis),
    };
    let millis = millis.map_err(StorageError::corrupt)?;
    Ok(PgTimestamp((millis - EPOCH_MILLIS).saturating_mul(1000)))
}

/// Converts a row to a message. A message whose author is not stored has the author's id
/// as its name.
pub(super) fn message(
    row: MessageRow,
    changes: Option<ChangesRow>,
) -> Result<Message, StorageError> {
    let (id, room_id, seq, user_id, name, content, client_message_id, created_at, extras) = row;
    let changes = changes.map(changes_columns);
    Ok(Message {
        extras: stored_extras::of(extras, changes.as_ref())?,
        id: MessageId::new(id),
        room_id: room(room_id)?,
        seq: position(seq)?,
        author: stored_changes::author(user_id, name, changes.as_ref())?,
        content: stored_changes::content(content, changes.as_ref())?,
        client_message_id: client_message_id
            .map(ClientMessageId::new)
            .transpose()
            .map_err(StorageError::corrupt)?,
        created_at: timestamp(created_at),
        changes: changes.map(stored_changes::changes).transpose()?,
    })
}

fn changes_columns(row: ChangesRow) -> ChangesColumns {
    let (rev, edited_at, deleted_at, erased_at, reactions) = row;
    ChangesColumns {
        rev,
        edited_at: edited_at.map(timestamp),
        deleted_at: deleted_at.map(timestamp),
        erased_at: erased_at.map(timestamp),
        reactions,
    }
}

pub(super) fn timestamp(at: PgTimestamp) -> Timestamp {
    Timestamp::from_unix_millis(at.0 / 1000 + EPOCH_MILLIS)
}

/// Returns the microseconds since 1970, 0 before.
pub(super) fn unix_micros(at: PgTimestamp) -> u64 {
    let micros = at.0.saturating_add(EPOCH_MILLIS * 1000);
    micros.try_into().unwrap_or_default()
}

/// Converts microseconds since 1970; what the database cannot represent is `infinity`.
pub(super) fn from_unix_micros(micros: u64) -> PgTimestamp {
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    match micros - EPOCH_MILLIS * 1000 {
        END_MICROS.. => PgTimestamp(i64::MAX),
        micros => PgTimestamp(micros),
    }
}

/// Converts a time between 1970 and 9999, which PostgreSQL can represent.
pub(super) fn pg_timestamp(at: Timestamp) -> PgTimestamp {
    PgTimestamp((at.unix_millis() - EPOCH_MILLIS).saturating_mul(1000))
}

/// Converts the end of a ban or a mute. `infinity`: until it is lifted.
pub(super) fn until(at: PgTimestamp) -> Until {
    match at.0 {
        i64::MAX => Until::Lifted,
        _ => Until::Time(timestamp(at)),
    }
}

pub(super) fn room(id: i64) -> Result<RoomId, StorageError> {
    RoomId::new(id.unsigned_abs()).map_err(StorageError::corrupt)
}

pub(super) fn position(seq: i64) -> Result<Seq, StorageError> {
    Seq::new(seq.unsigned_abs()).map_err(StorageError::corrupt)
}

/// Converts a room, its newest position, the number of its rules, that of its newest change to a
/// message, and its generation, if that is known.
pub(super) fn room_position(
    row: (i64, i64, i64, i64, Option<i64>),
) -> Result<RoomPosition, StorageError> {
    let (id, seq, rules, rev, generation) = row;
    Ok(RoomPosition {
        rev: stored_changes::rev(rev)?,
        room_id: room(id)?,
        newest: position(seq)?,
        rules: RulesNumber::new(rules.unsigned_abs()),
        generation: generation.map(self::generation),
    })
}

pub(super) fn generation(number: i64) -> Generation {
    Generation::new(number.unsigned_abs())
}

/// Converts a room's newest position and a user's read pointer, if there are any.
pub(super) fn read_state(row: Option<(i64, Option<i64>)>) -> Result<ReadState, StorageError> {
    let (newest, read) = row.unwrap_or_default();
    Ok(ReadState {
        newest: position(newest)?,
        read: position(read.unwrap_or_default())?,
    })
}

/// Converts a room's newest position, a user's read pointer, the number of the room's rules, and
/// that of its newest change to a message. Without a row, the room has none of them.
pub(super) fn room_state(
    row: Option<(i64, Option<i64>, i64, i64)>,
) -> Result<RoomState, StorageError> {
    let (newest, read, rules, rev) = row.unwrap_or_default();
    Ok(RoomState {
        rev: stored_changes::rev(rev)?,
        read: read_state(Some((newest, read)))?,
        rules: RulesNumber::new(rules.unsigned_abs()),
    })
}

/// Converts the number of a room or a position to a column. It fits: it is below 2^53.
pub(super) fn number(value: u64) -> i64 {
    value.cast_signed()
}
