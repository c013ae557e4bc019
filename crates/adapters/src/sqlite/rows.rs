//! Converts rows to values and back.

use chat_domain::{
    ClientMessageId, Generation, Message, MessageId, ReadState, RoomId, RoomState, RulesNumber,
    Seq, StorageError, Timestamp, ports::RoomPosition,
};

use crate::stored_changes::{self, ChangesColumns};
use crate::stored_extras;

/// A message with its author's name, if there is one: `id, room_id, seq, user_id, name, content,
/// client_message_id, created_at, extras`.
pub(super) type MessageRow = (
    i64,
    i64,
    i64,
    String,
    Option<String>,
    String,
    Option<String>,
    String,
    Option<String>,
);

/// What has become of a message: `rev, edited_at, deleted_at, erased_at, reactions`.
pub(super) type ChangesRow = (
    i64,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

pub(super) fn message(
    row: MessageRow,
    changes: Option<ChangesRow>,
) -> Result<Message, StorageError> {
    let (id, room_id, seq, user_id, name, content, client_message_id, created_at, extras) = row;
    let changes = changes.map(changes_columns).transpose()?;
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
        created_at: timestamp(&created_at)?,
        changes: changes.map(stored_changes::changes).transpose()?,
    })
}

fn changes_columns(row: ChangesRow) -> Result<ChangesColumns, StorageError> {
    let (rev, edited_at, deleted_at, erased_at, reactions) = row;
    let at = |at: Option<String>| at.as_deref().map(timestamp).transpose();
    Ok(ChangesColumns {
        rev,
        edited_at: at(edited_at)?,
        deleted_at: at(deleted_at)?,
        erased_at: at(erased_at)?,
        reactions,
    })
}

fn timestamp(at: &str) -> Result<Timestamp, StorageError> {
    at.parse().map_err(StorageError::corrupt)
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

/// Converts a room's newest position and a user's read pointer. Without a row, the room
/// has no messages.
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

/// Converts a number of a room or position to a column's value; it is below 2^53.
pub(super) fn number(value: u64) -> i64 {
    value.cast_signed()
}
