//! The frames that all members of a room share.

use bytes::Bytes;
use chat_delivery::Encoder;
use chat_domain::{ChangeSubject, Message, RoomId, Seq, StoredChange, StoredMessage, UserId};

use super::objects::{MarkedRead, message_json};
use super::packet;

/// Encodes for Socket.IO.
pub(crate) struct SocketIoEncoder;

impl Encoder for SocketIoEncoder {
    fn message(&self, message: &StoredMessage) -> Bytes {
        packet::event_of_json("newMessage", message.encoded())
    }

    fn logged_message(&self, message: Message) -> Bytes {
        packet::event_of_json("newMessage", &message_json(&message))
    }

    fn read_pointer(&self, room_id: RoomId, user_id: &UserId, seq: Seq) -> Bytes {
        packet::event("markedRead", &MarkedRead::new(room_id, user_id, seq))
    }

    fn rules_change(&self, change: &StoredChange) -> Bytes {
        let event = match change.subject() {
            ChangeSubject::Room => "roomChanged",
            ChangeSubject::Member(_) => "memberChanged",
        };
        packet::event_of_json(event, change.encoded())
    }
}
