//! The outbox as both databases store it.

use chat_domain::ports::{
    NextDelivery, OutboxEntry, OutboxKind, OutboxPlace, ParkedEntry, UnreadReport,
};
use chat_domain::{Seq, StorageError, Timestamp, UserId};

use crate::stored_rules::{count, room_id};

/// The columns of an entry.
pub(crate) struct EntryColumns {
    pub(crate) id: i64,
    pub(crate) user_id: String,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) kind: String,
    pub(crate) changed_by: Option<String>,
    pub(crate) recorded_at: Timestamp,
    pub(crate) is_of_deleted_room: bool,
}

pub(crate) fn entry(columns: EntryColumns) -> Result<OutboxEntry, StorageError> {
    let by = columns.changed_by.map(UserId::new).transpose();
    Ok(OutboxEntry {
        kind: kind(&columns.kind)?,
        first: OutboxPlace {
            record: count(columns.id)?,
            user_id: columns.user_id,
            number: count(columns.first)?,
        },
        last: count(columns.last)?,
        by: by.map_err(StorageError::corrupt)?,
        recorded_at: columns.recorded_at,
        is_of_deleted_room: columns.is_of_deleted_room,
    })
}

/// A member who has not read up to the message at `seq`.
pub(crate) struct UnreadColumns {
    pub(crate) seq: i64,
    pub(crate) user_id: String,
    pub(crate) is_mentioned: bool,
}

pub(crate) fn unread(
    members: impl Iterator<Item = UnreadColumns>,
) -> Result<Option<UnreadReport>, StorageError> {
    let mut report: Option<UnreadReport> = None;
    for member in members {
        let seq = Seq::new(count(member.seq)?).map_err(StorageError::corrupt)?;
        let user_id = UserId::new(member.user_id).map_err(StorageError::corrupt)?;
        let report = report.get_or_insert_with(|| UnreadReport {
            seq,
            user_ids: Vec::new(),
            mentioned: Vec::new(),
        });
        if member.is_mentioned {
            report.mentioned.push(user_id.clone());
        }
        report.user_ids.push(user_id);
    }
    Ok(report)
}

/// The columns of a parked entry.
pub(crate) struct ParkedColumns {
    pub(crate) room_id: i64,
    pub(crate) kind: String,
    pub(crate) first: i64,
    pub(crate) recorded_at: Timestamp,
    pub(crate) parked_at: Timestamp,
    pub(crate) reason: Option<String>,
}

pub(crate) fn parked(columns: ParkedColumns) -> Result<ParkedEntry, StorageError> {
    Ok(ParkedEntry {
        room_id: room_id(columns.room_id)?,
        kind: kind(&columns.kind)?,
        number: count(columns.first)?,
        recorded_at: columns.recorded_at,
        parked_at: columns.parked_at,
        reason: columns.reason.unwrap_or_default(),
    })
}

fn kind(name: &str) -> Result<OutboxKind, StorageError> {
    OutboxKind::from_name(name)
        .ok_or_else(|| StorageError::corrupt(format!("{name:?} is not reported to products")))
}

/// What follows a lease, column by column.
pub(crate) struct NextColumns {
    pub(crate) attempts: i32,
    pub(crate) seconds: f64,
    pub(crate) reason: Option<String>,
    pub(crate) parked: Option<OutboxPlace>,
}

impl NextColumns {
    pub(crate) fn new(next: NextDelivery) -> Self {
        match next {
            NextDelivery::Now => Self {
                attempts: 0,
                seconds: 0.0,
                reason: None,
                parked: None,
            },
            NextDelivery::Retry {
                attempts,
                after,
                reason,
            } => Self {
                attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
                seconds: after.as_secs_f64(),
                reason: Some(reason),
                parked: None,
            },
            NextDelivery::Park { place, reason } => Self {
                attempts: 0,
                seconds: 0.0,
                reason: Some(reason),
                parked: Some(place),
            },
        }
    }
}
