//! The objects that go out on the wire.

mod changes;
mod inbox;
mod rules;
mod signals;

use chat_delivery::Admission;
use chat_domain::{
    ClientMessageId, Identity, Message, MessageChanges, ReactionKey, ReadState, RoomId, Seq,
    Timestamp, User, UserId,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

pub(crate) use self::changes::ReactionsAck;
use self::changes::WireReaction;
pub(crate) use self::inbox::{
    EncodedOverview, NotifyAck, RoomRemoved, WatchAck, next_of, position_of, summary_json,
};
pub(crate) use self::rules::{
    MemberAck, MemberChanged, MemberObject, MembersAck, RoomAck, RoomChanged, RoomObject,
    SanctionedObject,
};
pub(crate) use self::signals::{PresentAck, Typing, TypingAck, WatchedUsersAck, WireUserPresence};

/// A message.
// `newMessage`, and `message` in an acknowledgement.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub(crate) struct WireMessage<'a> {
    /// Unique among the messages of all rooms.
    #[schema(example = 812)]
    id: i64,
    #[schema(minimum = 1, maximum = 9007199254740991u64, example = 7)]
    room_id: u64,
    /// The message's number in its room: 1, 2, 3 … without gaps.
    #[schema(minimum = 1, maximum = 9007199254740991u64, example = 57)]
    seq: u64,
    /// Empty if the message is deleted.
    #[schema(max_length = 4000, example = "hello")]
    content: &'a str,
    #[schema(format = DateTime, example = "2026-01-31T12:00:00.000Z")]
    created_at: String,
    #[schema(min_length = 1, max_length = 255, example = "42")]
    user_id: &'a str,
    user: WireUser<'a>,
    /// Present if the sender chose one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9_.:-]+$"
    )]
    client_message_id: Option<&'a str>,
    /// The number of the earlier message to which it replies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 9007199254740991u64)]
    reply_to: Option<u64>,
    /// The users whom it mentions, each once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_items = 1, max_items = 50)]
    mentions: Option<Vec<&'a str>>,
    /// What the product keeps with it: at most 2048 bytes, without whitespace, with the keys in
    /// ascending order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    metadata: Option<&'a RawValue>,
    /// The number of the message's latest change in its room. Absent if it has not changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 9007199254740991u64)]
    rev: Option<u64>,
    /// When it was edited last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    edited_at: Option<String>,
    /// When it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    deleted_at: Option<String>,
    /// When it was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    erased_at: Option<String>,
    /// Present if the message has changed. In the order in which the keys were first set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_items = 20)]
    reactions: Option<Vec<WireReaction<'a>>>,
}

/// A user, under the latest known name.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct WireUser<'a> {
    #[schema(min_length = 1, max_length = 255, example = "42")]
    id: &'a str,
    /// The id, if no name is known.
    #[schema(max_length = 255, example = "Ada")]
    name: &'a str,
}

impl<'a> WireUser<'a> {
    pub(crate) fn of(user: &'a User) -> Self {
        Self {
            id: user.id.as_str(),
            name: user.name.as_str(),
        }
    }
}

impl<'a> WireMessage<'a> {
    /// Describes a message to a user who has set these reactions to it.
    fn new(message: &'a Message, own: &[ReactionKey]) -> Self {
        let id = message.author.id.as_str();
        let client_message_id = message.client_message_id.as_ref();
        let changes = message.changes.as_deref();
        let extras = message.extras.as_deref();
        let time = |of: fn(&MessageChanges) -> Option<Timestamp>| {
            changes.and_then(of).map(|time| time.to_string())
        };
        Self {
            id: message.id.get(),
            room_id: message.room_id.get(),
            seq: message.seq.get(),
            content: message.content.as_str(),
            created_at: message.created_at.to_string(),
            user_id: id,
            user: WireUser {
                id,
                name: message.author.name.as_str(),
            },
            client_message_id: client_message_id.map(ClientMessageId::as_str),
            reply_to: extras.and_then(|extras| extras.reply_to).map(Seq::get),
            mentions: extras
                .map(|extras| extras.mentions.iter().map(UserId::as_str).collect())
                .filter(|mentions: &Vec<_>| !mentions.is_empty()),
            metadata: extras
                .and_then(|extras| extras.metadata.as_ref())
                // What another program has stored instead of JSON must not break the packet.
                .map(|json| serde_json::from_str(json.as_str()).unwrap_or(RawValue::NULL)),
            rev: changes.map(|changes| changes.rev.get()),
            edited_at: time(|changes| changes.edited_at),
            deleted_at: time(|changes| changes.deleted_at),
            erased_at: time(|changes| changes.erased_at),
            reactions: changes.map(|changes| WireReaction::all(changes, own)),
        }
    }
}

/// Encodes a message as JSON: the argument of `newMessage`, and the acknowledgement's
/// `message`.
pub(crate) fn message_json(message: &Message) -> Box<str> {
    json(&WireMessage::new(message, &[]))
}

/// Encodes a message as JSON for a user who has set these reactions to it.
pub(crate) fn message_json_for(message: &Message, own: &[ReactionKey]) -> Box<str> {
    json(&WireMessage::new(message, own))
}

/// Encodes an object of the wire as JSON, for members of a room on every node.
pub(crate) fn json(object: &impl Serialize) -> Box<str> {
    match serde_json::to_string(object) {
        Ok(json) => json.into_boxed_str(),
        // Its keys are strings, and none of its parts can fail.
        Err(error) => unreachable!("an object of the wire cannot be encoded: {error}"),
    }
}

/// `joinedRoom`, and the acknowledgement of `joinRoom`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JoinedRoom {
    room_id: u64,
    seq: u64,
    read_seq: u64,
    unread: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<Missed>,
    rev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes_missed: Option<Missed>,
}

/// The messages that were not replayed.
#[derive(Serialize)]
struct Missed {
    from: u64,
    to: u64,
}

impl JoinedRoom {
    /// Describes the admission of a user whose read pointer is at `read`.
    pub(crate) fn new(room_id: RoomId, admission: Admission, read: Seq) -> Self {
        let Admission {
            seam,
            missed,
            rev,
            changes_missed,
        } = admission;
        Self {
            room_id: room_id.get(),
            seq: seam.get(),
            read_seq: read.get(),
            unread: seam.since(read),
            missed: missed.map(|missed| Missed {
                from: missed.from.get(),
                to: missed.to.get(),
            }),
            rev: rev.get(),
            changes_missed: changes_missed.map(|(from, to)| Missed {
                from: from.get(),
                to: to.get(),
            }),
        }
    }
}

/// `leftRoom`, and the acknowledgement of `leaveRoom`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeftRoom {
    room_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl LeftRoom {
    pub(crate) fn new(room_id: RoomId) -> Self {
        Self {
            room_id: room_id.get(),
            reason: None,
        }
    }

    /// The user may not be in the room any longer: its token does not allow it, or its
    /// membership of a private room has ended.
    pub(crate) fn removed(room_id: RoomId) -> Self {
        Self::because(room_id, "removed")
    }

    /// The user is banned.
    pub(crate) fn banned(room_id: RoomId) -> Self {
        Self::because(room_id, "banned")
    }

    /// The room was deleted.
    pub(crate) fn closed(room_id: RoomId) -> Self {
        Self::because(room_id, "closed")
    }

    fn because(room_id: RoomId, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..Self::new(room_id)
        }
    }
}

/// The acknowledgement of `renewToken`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RenewedToken {
    expires_at: String,
}

impl RenewedToken {
    pub(crate) fn new(identity: &Identity) -> Self {
        Self {
            expires_at: identity.expires_at.to_string(),
        }
    }
}

/// The acknowledgement of `markRead`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MarkReadAck {
    room_id: u64,
    seq: u64,
    unread: u64,
}

impl MarkReadAck {
    pub(crate) fn new(room_id: RoomId, state: ReadState) -> Self {
        Self {
            room_id: room_id.get(),
            seq: state.read.get(),
            unread: state.unread(),
        }
    }
}

/// `markedRead`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MarkedRead<'a> {
    room_id: u64,
    user_id: &'a str,
    seq: u64,
}

impl<'a> MarkedRead<'a> {
    pub(crate) fn new(room_id: RoomId, user_id: &'a UserId, seq: Seq) -> Self {
        Self {
            room_id: room_id.get(),
            user_id: user_id.as_str(),
            seq: seq.get(),
        }
    }
}

#[cfg(test)]
mod tests;
