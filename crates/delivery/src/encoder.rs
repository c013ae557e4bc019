//! What a transport implements: the frames that members of a room receive.

use bytes::Bytes;
use chat_domain::{
    ChangedMessage, Message, ReactionKey, Rev, RoomId, Seq, StoredChange, StoredMessage, User,
    UserId,
};

/// Encodes what members receive. Each method returns one finished frame. What is live is encoded
/// once, and shared by all recipients; only a replay is encoded for the user that it serves.
pub trait Encoder: Send + Sync + 'static {
    /// Frames a message that is encoded already.
    fn message(&self, message: &StoredMessage) -> Bytes;

    /// Encodes and frames a message that was read from the log. A frame for one user marks its
    /// `own` reactions; in one for all members, there are none.
    fn logged_message(&self, message: Message, own: &[ReactionKey]) -> Bytes;

    /// Encodes and frames a message that has changed. If several changes were merged, no user in
    /// particular made them. `own` is as for a [logged message](Self::logged_message).
    fn changed_message(
        &self,
        room_id: RoomId,
        changed: ChangedMessage,
        is_merged: bool,
        own: &[ReactionKey],
    ) -> Bytes;

    /// Encodes and frames the news that a user has read a room up to a position.
    fn read_pointer(&self, room_id: RoomId, user_id: &UserId, seq: Seq) -> Bytes;

    /// Encodes and frames the news that a user is typing in a room, or has stopped.
    fn typing(&self, room_id: RoomId, user: &User, typing: bool) -> Bytes;

    /// Frames a change of a room's rules that is encoded already.
    fn rules_change(&self, change: &StoredChange) -> Bytes;
}

/// An encoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// The number of the latest change that it shows.
    pub(crate) rev: Rev,
}

impl Frame {
    /// Encodes a message that a hint brought: as it was stored.
    pub(crate) fn new(message: &StoredMessage, encoder: &dyn Encoder) -> Self {
        Self {
            bytes: encoder.message(message),
            rev: Rev::START,
        }
    }

    /// Encodes a message that was read from the log: in its newest state, with these
    /// reactions marked as the user's own.
    pub(crate) fn logged(message: Message, own: &[ReactionKey], encoder: &dyn Encoder) -> Self {
        Self {
            rev: rev_of(&message),
            bytes: encoder.logged_message(message, own),
        }
    }
}

/// Returns the number of a message's latest change.
pub(crate) fn rev_of(message: &Message) -> Rev {
    let changes = message.changes.as_ref();
    changes.map_or(Rev::START, |changes| changes.rev)
}
