//! Converts what is stored about users. Both databases select it alike, with times as on the wire.

use chat_domain::ports::{
    AuthoredMessages, ChangedRoom, ErasureBatch, ErasureStage, PlacedRecord, RecordKind,
    RecordPlace, UserRecordData,
};
use chat_domain::{
    ChangeKind, DisplayName, Generation, Notify, ReactionKey, Reason, Seq, StorageError, Timestamp,
    UserId,
};

use crate::{stored_changes, stored_rules};

/// A batch of an erasure. The room, its generation and its newest change are there if messages
/// have changed.
pub(crate) struct BatchColumns {
    pub(crate) user_id: String,
    pub(crate) stage: String,
    pub(crate) erased: i64,
    pub(crate) changed: Option<(i64, i64, i64)>,
}

pub(crate) fn batch(columns: BatchColumns) -> Result<ErasureBatch, StorageError> {
    let changed = columns.changed.map(|(room, generation, rev)| {
        Ok(ChangedRoom {
            room_id: stored_rules::room_id(room)?,
            generation: Generation::new(generation.unsigned_abs()),
            rev: stored_changes::rev(rev)?,
        })
    });
    Ok(ErasureBatch {
        user_id: UserId::new(columns.user_id).map_err(StorageError::corrupt)?,
        rows: stored_rules::count(columns.erased)?,
        stage: match columns.stage.as_str() {
            "standing" => ErasureStage::Standing,
            "over" => ErasureStage::Over,
            _ => ErasureStage::Content(changed.transpose()?),
        },
    })
}

/// A record, in columns whose meaning depends on its kind: see the statements.
pub(crate) struct RecordColumns {
    pub(crate) room: i64,
    pub(crate) seq: i64,
    pub(crate) key: String,
    pub(crate) value: Option<String>,
    pub(crate) at: Option<String>,
}

pub(crate) fn record(
    kind: RecordKind,
    columns: RecordColumns,
) -> Result<PlacedRecord, StorageError> {
    let place = RecordPlace {
        room: stored_rules::count(columns.room)?,
        seq: stored_rules::count(columns.seq)?,
        key: columns.key,
    };
    let room_id = || stored_rules::room_id(columns.room);
    let seq = || Seq::new(columns.seq.unsigned_abs()).map_err(StorageError::corrupt);
    let at = columns.at.as_deref().map(str::parse::<Timestamp>);
    let at = at.transpose().map_err(StorageError::corrupt)?;
    let time = || at.ok_or_else(|| StorageError::corrupt("a record has no time"));
    let value = columns.value;
    let text = || value.as_deref().unwrap_or_default();
    let reason = || {
        let reason = value.clone().map(Reason::new).transpose();
        reason.map_err(StorageError::corrupt)
    };
    let unknown = || StorageError::corrupt(format!("{:?} is not a valid value", text()));
    let record = match kind {
        RecordKind::User => UserRecordData::User {
            name: DisplayName::from_text(text()),
            last_seen: at,
        },
        RecordKind::Member => {
            let (role, notify) = text().split_once(' ').ok_or_else(unknown)?;
            UserRecordData::Member {
                room_id: room_id()?,
                role: stored_rules::role(role)?,
                notify: Notify::from_name(notify).ok_or_else(unknown)?,
                joined_at: time()?,
            }
        }
        RecordKind::Ban => UserRecordData::Ban {
            room_id: room_id()?,
            until: at,
            reason: reason()?,
        },
        RecordKind::Mute => UserRecordData::Mute {
            room_id: room_id()?,
            until: at,
            reason: reason()?,
        },
        RecordKind::SlowModeTurn => UserRecordData::SlowModeTurn {
            room_id: room_id()?,
            due_at: time()?,
        },
        RecordKind::ReadPointer => UserRecordData::ReadPointer {
            room_id: room_id()?,
            seq: text()
                .parse()
                .ok()
                .and_then(|seq| Seq::new(seq).ok())
                .ok_or_else(unknown)?,
        },
        RecordKind::Reaction => UserRecordData::Reaction {
            room_id: room_id()?,
            seq: seq()?,
            key: ReactionKey::new(place.key.as_str()).map_err(StorageError::corrupt)?,
            created_at: time()?,
        },
        RecordKind::Mention => UserRecordData::Mention {
            room_id: room_id()?,
            seq: seq()?,
        },
        RecordKind::Change => {
            let (rev, change) = text().split_once(' ').ok_or_else(unknown)?;
            UserRecordData::Change {
                room_id: room_id()?,
                seq: seq()?,
                rev: stored_changes::rev(rev.parse().map_err(StorageError::corrupt)?)?,
                kind: ChangeKind::from_name(change).ok_or_else(unknown)?,
            }
        }
        RecordKind::Revocation => {
            let issued_before = value.as_deref().map(str::parse::<Timestamp>);
            UserRecordData::Revocation {
                issued_before: issued_before.transpose().map_err(StorageError::corrupt)?,
                changed_at: time()?,
            }
        }
        RecordKind::Disconnection => UserRecordData::Disconnection {
            changed_at: time()?,
        },
        RecordKind::Erasure => UserRecordData::Erasure {
            messages: AuthoredMessages::from_name(text()).ok_or_else(unknown)?,
            requested_at: time()?,
        },
    };
    Ok(PlacedRecord { place, record })
}
