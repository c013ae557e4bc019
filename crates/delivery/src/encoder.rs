//! What a transport implements: the frames that all members of a room share.

use bytes::Bytes;
use chat_domain::{ChangedMessage, Message, RoomId, Seq, StoredChange, StoredMessage, UserId};

/// Encodes what members receive. Each method returns one finished frame, which is shared
/// by all recipients.
pub trait Encoder: Send + Sync + 'static {
    /// Frames a message that is encoded already.
    fn message(&self, message: &StoredMessage) -> Bytes;

    /// Encodes and frames a message that was read from the log.
    fn logged_message(&self, message: Message) -> Bytes;

    /// Encodes and frames a message that has changed. If several changes were merged, nobody in
    /// particular made them.
    fn changed_message(&self, room_id: RoomId, changed: ChangedMessage, is_merged: bool) -> Bytes;

    /// Encodes and frames the news that a user has read a room up to a position.
    fn read_pointer(&self, room_id: RoomId, user_id: &UserId, seq: Seq) -> Bytes;

    /// Frames a change of a room's rules that is encoded already.
    fn rules_change(&self, change: &StoredChange) -> Bytes;
}
