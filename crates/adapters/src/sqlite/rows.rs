//! Converts rows to values and back.

use chat_domain::{
    ClientMessageId, Content, DisplayName, Generation, Message, MessageId, ReadState, RoomId,
    RoomState, RulesNumber, Seq, StorageError, Timestamp, User, UserId, ports::RoomPosition,
};

/// A message with its author's name, if there is one: `id, room_id, seq, user_id, name, content,
/// client_message_id, created_at`.
pub(super) type MessageRow = (
    i64,
    i64,
    i64,
    String,
    Option<String>,
    String,
    Option<String>,
    String,
);

pub(super) fn message(row: MessageRow) -> Result<Message, StorageError> {
    let (id, room_id, seq, user_id, name, content, client_message_id, created_at) = row;
    Ok(Message {
        id: MessageId::new(id),
        room_id: room(room_id)?,
        seq: position(seq)?,
        author: User {
            name: DisplayName::from_text(name.as_deref().unwrap_or(&user_id)),
            id: UserId::new(user_id).map_err(StorageError::corrupt)?,
        },
        content: Content::new(content).map_err(StorageError::corrupt)?,
        client_message_id: client_message_id
            .map(ClientMessageId::new)
            .transpose()
            .map_err(StorageError::corrupt)?,
        created_at: created_at
            .parse::<Timestamp>()
            .map_err(StorageError::corrupt)?,
    })
}

pub(super) fn room(id: i64) -> Result<RoomId, StorageError> {
    RoomId::new(id.unsigned_abs()).map_err(StorageError::corrupt)
}

pub(super) fn position(seq: i64) -> Result<Seq, StorageError> {
    Seq::new(seq.unsigned_abs()).map_err(StorageError::corrupt)
}

/// Converts a room, its newest position, the number of its rules, and its generation, if that
/// is known.
pub(super) fn room_position(
    row: (i64, i64, i64, Option<i64>),
) -> Result<RoomPosition, StorageError> {
    let (id, seq, rules, generation) = row;
    Ok(RoomPosition {
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

/// Converts a room's newest position, a user's read pointer and the number of the room's rules.
/// Without a row, the room has none of them.
pub(super) fn room_state(row: Option<(i64, Option<i64>, i64)>) -> Result<RoomState, StorageError> {
    let (newest, read, rules) = row.unwrap_or_default();
    Ok(RoomState {
        read: read_state(Some((newest, read)))?,
        rules: RulesNumber::new(rules.unsigned_abs()),
    })
}

/// Converts a number of a room or position to a column's value; it is below 2^53.
pub(super) fn number(value: u64) -> i64 {
    value.cast_signed()
}
