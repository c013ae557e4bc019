//! The objects of the inbox.

use std::fmt::Write as _;

use chat_delivery::RemovalReason;
use chat_domain::ports::InboxPosition;
use chat_domain::{MemberView, Notify, ReadState, RoomId, RoomName, RoomOverview, Seq, Summary};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{WireMessage, json};

/// Encodes a `Summary` as JSON, for one member.
pub(crate) fn summary_json(summary: &Summary) -> Box<str> {
    EncodedOverview::new(&summary.room).summary(&summary.member)
}

/// What the summaries of a room have in common, as JSON: it is encoded once, for any number of
/// members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodedOverview {
    newest: Seq,
    /// An object without its closing brace.
    open: Box<str>,
}

impl EncodedOverview {
    pub(crate) fn new(room: &RoomOverview) -> Self {
        let object = json(&SharedPart {
            room_id: room.room_id.get(),
            kind: room.kind.as_str(),
            name: room.name.as_ref().map(RoomName::as_str),
            // What another program has stored instead of JSON must not break the packet.
            metadata: serde_json::from_str(room.metadata.as_str()).unwrap_or(RawValue::NULL),
            seq: room.newest.get(),
            rev: room.rev.get(),
            last_message: room
                .last_message
                .as_ref()
                .map(|message| WireMessage::new(message, &[])),
        });
        Self {
            newest: room.newest,
            open: object[..object.len() - 1].into(),
        }
    }

    /// Returns what all members share.
    pub(crate) fn into_shared(self) -> Box<str> {
        self.open
    }

    /// Returns the `Summary` of one member.
    pub(crate) fn summary(&self, member: &MemberView) -> Box<str> {
        Self::summary_of(&self.open, self.newest, member)
    }

    /// Returns the `Summary` of one member of a room with this newest position, whose members
    /// [share](Self::into_shared) this.
    pub(crate) fn summary_of(shared: &str, newest: Seq, member: &MemberView) -> Box<str> {
        let state = ReadState {
            newest,
            read: member.read,
        };
        let (role, notify) = (member.role.as_str(), member.notify.as_str());
        let (read, unread) = (state.read.get(), state.unread());
        let mentions = member.mentions;
        let mut summary = String::with_capacity(shared.len() + 128);
        summary.push_str(shared);
        // Names need no escapes.
        let written = write!(
            summary,
            r#","role":"{role}","notify":"{notify}","readSeq":{read},"unread":{unread},"mentions":{mentions}}}"#
        );
        match written {
            Ok(()) => summary.into_boxed_str(),
            Err(error) => unreachable!("a string cannot be written to: {error}"),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SharedPart<'a> {
    room_id: u64,
    kind: &'static str,
    name: Option<&'a str>,
    metadata: &'a RawValue,
    seq: u64,
    rev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message: Option<WireMessage<'a>>,
}

/// Returns a position as `next` of a page states it. [`position_of`] reads it.
pub(crate) fn next_of(position: InboxPosition) -> String {
    format!("{}-{}", position.activity, position.room_id)
}

/// Reads what [`next_of`] has returned, and nothing else.
pub(crate) fn position_of(next: &str) -> Option<InboxPosition> {
    let (activity, room_id) = next.split_once('-')?;
    let position = InboxPosition {
        activity: activity.parse().ok()?,
        room_id: RoomId::new(room_id.parse().ok()?).ok()?,
    };
    // A number has many spellings.
    (next_of(position) == next).then_some(position)
}

/// `roomRemoved`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoomRemoved {
    room_id: u64,
    reason: &'static str,
}

impl RoomRemoved {
    pub(crate) fn new(room_id: RoomId, reason: RemovalReason) -> Self {
        Self {
            room_id: room_id.get(),
            reason: match reason {
                RemovalReason::Removed => "removed",
                RemovalReason::Banned => "banned",
                RemovalReason::Closed => "closed",
            },
        }
    }
}

/// The acknowledgement of `watchRooms`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WatchAck {
    unread_total: u64,
}

impl WatchAck {
    pub(crate) fn new(unread_total: u64) -> Self {
        Self { unread_total }
    }
}

/// The acknowledgement of `setNotify`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotifyAck {
    room_id: u64,
    notify: &'static str,
}

impl NotifyAck {
    pub(crate) fn new(room_id: RoomId, notify: Notify) -> Self {
        Self {
            room_id: room_id.get(),
            notify: notify.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::{
        Content, DisplayName, MessageId, Metadata, NewMessage, Rev, Role, RoomKind, RulesNumber,
        Timestamp, User, UserId,
    };
    use serde_json::{Value, json};

    use super::*;

    fn overview() -> RoomOverview {
        RoomOverview {
            room_id: RoomId::new(7).unwrap(),
            kind: RoomKind::Private,
            name: RoomName::new("\"Tea\"".to_owned()).ok(),
            metadata: Metadata::new(r#"{"a":[1]}"#.to_owned()).unwrap(),
            newest: Seq::new(57).unwrap(),
            rev: Rev::new(12).unwrap(),
            last_message: None,
        }
    }

    fn value(overview: &RoomOverview, member: &MemberView) -> Value {
        serde_json::from_str(&EncodedOverview::new(overview).summary(member)).unwrap()
    }

    #[test]
    fn a_summary_is_encoded_as_in_the_contract() {
        let member = MemberView {
            role: Role::Moderator,
            notify: Notify::Mentions,
            read: Seq::new(50).unwrap(),
            mentions: 3,
        };
        let mut room = overview();
        let mut expected = json!({
            "roomId": 7, "kind": "private", "name": "\"Tea\"", "metadata": {"a": [1]},
            "role": "moderator", "notify": "mentions", "seq": 57, "rev": 12, "readSeq": 50,
            "unread": 7, "mentions": 3
        });
        assert_eq!(value(&room, &member), expected);
        let message = NewMessage {
            extras: None,
            room_id: room.room_id,
            author: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            content: Content::new("\"}").unwrap(),
            client_message_id: None,
            created_at: Timestamp::from_unix_millis(0),
            rules: RulesNumber::NONE,
        }
        .stored(MessageId::new(812), room.newest);
        expected["lastMessage"] =
            serde_json::from_str(&super::super::message_json(&message)).unwrap();
        expected["name"] = Value::Null;
        room.last_message = Some(message);
        room.name = None;
        assert_eq!(value(&room, &member), expected);
    }

    #[test]
    fn a_position_is_read_as_it_was_stated_and_in_no_other_spelling() {
        for (activity, number) in [
            (0, 1),
            (1_769_860_800_000_000, 7),
            (u64::MAX, chat_domain::MAX_NUMBER),
        ] {
            let position = InboxPosition {
                activity,
                room_id: RoomId::new(number).unwrap(),
            };
            assert_eq!(position_of(&next_of(position)), Some(position));
        }
        for wrong in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-0",
            "+1-1",
            "01-1",
            "1-01",
            "1--1",
            " 1-1",
            "1-1 ",
            "1-1-1",
            "a-1",
            "18446744073709551616-1",
            "1-9007199254740992",
        ] {
            assert_eq!(position_of(wrong), None, "{wrong}");
        }
    }
}
