//! The frames of rooms that connections have joined, and of rooms that they watch.

use bytes::Bytes;
use chat_delivery::{
    Encoder, PresenceEncoder, RemovalReason, SummaryEncoder, SummaryEvent, UserPresence,
};
use chat_domain::{
    ChangeSubject, ChangedMessage, MemberView, Message, ReactionKey, RoomId, RoomOverview, Seq,
    StoredChange, StoredMessage, User, UserId,
};

use super::objects::{
    EncodedOverview, MarkedRead, RoomRemoved, Typing, WireUserPresence, json, message_json_for,
};
use super::packet;

/// Encodes for Socket.IO.
pub(crate) struct SocketIoEncoder;

impl Encoder for SocketIoEncoder {
    fn message(&self, message: &StoredMessage) -> Bytes {
        packet::event_of_json("newMessage", message.encoded())
    }

    fn logged_message(&self, message: Message, own: &[ReactionKey]) -> Bytes {
        packet::event_of_json("newMessage", &message_json_for(&message, own))
    }

    fn changed_message(
        &self,
        room_id: RoomId,
        changed: ChangedMessage,
        is_merged: bool,
        own: &[ReactionKey],
    ) -> Bytes {
        let rev = changed
            .message
            .changes
            .as_ref()
            .map_or(0, |changes| changes.rev.get());
        let by = match (is_merged, &changed.by) {
            (true, _) => String::new(),
            (false, None) => r#","by":null"#.to_owned(),
            (false, Some(user_id)) => format!(r#","by":{}"#, json(&user_id.as_str())),
        };
        let (change, message) = (
            changed.kind.as_str(),
            message_json_for(&changed.message, own),
        );
        let object = format!(
            r#"{{"roomId":{room_id},"rev":{rev},"change":"{change}","message":{message}{by}}}"#
        );
        packet::event_of_json("messageChanged", &object)
    }

    fn read_pointer(&self, room_id: RoomId, user_id: &UserId, seq: Seq) -> Bytes {
        packet::event("markedRead", &MarkedRead::new(room_id, user_id, seq))
    }

    fn typing(&self, room_id: RoomId, user: &User, typing: bool) -> Bytes {
        packet::event("typing", &Typing::new(room_id, user, typing))
    }

    fn rules_change(&self, change: &StoredChange) -> Bytes {
        let event = match change.subject() {
            ChangeSubject::Room => "roomChanged",
            ChangeSubject::Member(_) => "memberChanged",
        };
        packet::event_of_json(event, change.encoded())
    }
}

impl PresenceEncoder for SocketIoEncoder {
    fn user_presence(&self, presence: &UserPresence) -> Bytes {
        packet::event("userPresence", &WireUserPresence::new(presence))
    }
}

impl SummaryEncoder for SocketIoEncoder {
    fn shared(&self, room: &RoomOverview) -> Box<str> {
        EncodedOverview::new(room).into_shared()
    }

    fn summary(
        &self,
        event: SummaryEvent,
        room: &RoomOverview,
        shared: &str,
        member: MemberView,
    ) -> Bytes {
        let summary = EncodedOverview::summary_of(shared, room.newest, &member);
        match event {
            SummaryEvent::Added => {
                packet::event_of_json("roomAdded", &format!(r#"{{"summary":{summary}}}"#))
            }
            SummaryEvent::Updated | SummaryEvent::Removed(_) => {
                packet::event_of_json("roomUpdated", &summary)
            }
        }
    }

    fn removed(&self, room_id: RoomId, reason: RemovalReason) -> Bytes {
        packet::event("roomRemoved", &RoomRemoved::new(room_id, reason))
    }
}
