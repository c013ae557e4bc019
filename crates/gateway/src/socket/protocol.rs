//! The wire's JSON: a client's events, parsed to values that cannot be wrong, and
//! the objects that go out.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use chat_domain::{Content, Message, RoomId, Seq};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// What a client asks for, valid in form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    JoinRoom { room_id: RoomId },
    LeaveRoom { room_id: RoomId },
    SendMessage { room_id: RoomId, content: Content },
}

/// An event as it came in: its name and room (as far as they can be told, for the
/// answer), and what it asks for or why it asks for nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) event: Option<String>,
    pub(crate) room_id: Option<RoomId>,
    pub(crate) outcome: Result<Event, Malformed>,
}

/// Why an event asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Says what is wrong, and names the field.
    #[error("{0}")]
    Payload(Cow<'static, str>),
    #[error("there is no such event")]
    UnknownEvent,
}

/// Reads an event packet's array: `["sendMessage",{…}]`.
pub(crate) fn read(packet: &str) -> Received {
    let mut received = Received {
        event: None,
        room_id: None,
        outcome: Err(Malformed::Payload(
            "the packet is no JSON array of an event and its payload".into(),
        )),
    };
    let Ok(arguments) = serde_json::from_str::<Arguments<'_>>(packet) else {
        return received;
    };
    received.outcome = read_payload(&arguments, &mut received.room_id);
    received.event = Some(arguments.event.into_owned());
    received
}

fn read_payload(
    arguments: &Arguments<'_>,
    room_id: &mut Option<RoomId>,
) -> Result<Event, Malformed> {
    let event: &str = &arguments.event;
    if !["joinRoom", "leaveRoom", "sendMessage"].contains(&event) {
        return Err(Malformed::UnknownEvent);
    }
    let Some(payload) = arguments.payload else {
        return Err(Malformed::Payload("the payload is missing".into()));
    };
    let fields = Fields::read(payload)?;
    let room = fields.room_id();
    *room_id = room.as_ref().ok().copied();
    if arguments.has_more {
        return Err(Malformed::Payload(
            "there must be one payload, not several arguments".into(),
        ));
    }
    fields.check_keys()?;
    let room_id = room?;
    Ok(match event {
        "joinRoom" => Event::JoinRoom { room_id },
        "leaveRoom" => Event::LeaveRoom { room_id },
        _ => Event::SendMessage {
            room_id,
            content: fields.content()?,
        },
    })
}

/// The array of an event packet.
struct Arguments<'a> {
    event: Cow<'a, str>,
    payload: Option<&'a RawValue>,
    has_more: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArgumentsVisitor;

        impl<'de> Visitor<'de> for ArgumentsVisitor {
            type Value = Arguments<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event and its payload")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let Some(Text(event)) = array.next_element()? else {
                    return Err(de::Error::missing_field("event"));
                };
                let payload = array.next_element()?;
                let mut has_more = false;
                while array.next_element::<IgnoredAny>()?.is_some() {
                    has_more = true;
                }
                Ok(Arguments {
                    event,
                    payload,
                    has_more,
                })
            }
        }

        deserializer.deserialize_seq(ArgumentsVisitor)
    }
}

/// A string, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of a payload that the contract knows; `None` is absent or `null`.
#[derive(Default)]
struct Fields<'a> {
    room_id: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
    has_duplicates: bool,
}

impl<'a> Fields<'a> {
    fn read(payload: &'a RawValue) -> Result<Self, Malformed> {
        serde_json::Deserializer::from_str(payload.get())
            .deserialize_map(FieldsVisitor)
            .map_err(|_| Malformed::Payload("the payload must be an object".into()))
    }

    fn check_keys(&self) -> Result<(), Malformed> {
        if self.has_duplicates {
            return Err(Malformed::Payload("the payload has a key twice".into()));
        }
        Ok(())
    }

    fn room_id(&self) -> Result<RoomId, Malformed> {
        let room_id = required("roomId", self.room_id)?;
        let number = integer(room_id.get());
        number
            .and_then(|number| RoomId::new(number).ok())
            .ok_or_else(|| {
                let range = format!(
                    "roomId must be an integer from 1 to {}",
                    chat_domain::MAX_NUMBER
                );
                Malformed::Payload(range.into())
            })
    }

    fn content(&self) -> Result<Content, Malformed> {
        let content = required("content", self.content)?;
        let text: String = serde_json::from_str(content.get())
            .map_err(|_| Malformed::Payload("content must be a string of Unicode text".into()))?;
        Content::new(text).map_err(|error| Malformed::Payload(format!("content {error}").into()))
    }
}

fn required<'a>(
    name: &'static str,
    field: Option<&'a RawValue>,
) -> Result<&'a RawValue, Malformed> {
    field.ok_or_else(|| Malformed::Payload(format!("{name} is missing").into()))
}

/// A JSON number's value if it is an integer from 0 on: `1`, and `1.0` and `1e0`,
/// which are the same number to JSON.
fn integer(json: &str) -> Option<u64> {
    if let Ok(number) = serde_json::from_str::<u64>(json) {
        return Some(number);
    }
    let number = serde_json::from_str::<f64>(json).ok()?;
    let exact = number.fract() == 0.0 && (0.0..=chat_domain::MAX_NUMBER as f64).contains(&number);
    exact.then_some(number as u64)
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        let mut keys = HashSet::new();
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "roomId" => fields.room_id = map.next_value_seed(PresentSeed)?,
                "content" => fields.content = map.next_value_seed(PresentSeed)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            fields.has_duplicates |= !keys.insert(key);
        }
        Ok(fields)
    }
}

/// A value, or `None` for `null`.
struct PresentSeed;

impl<'de> DeserializeSeed<'de> for PresentSeed {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let value = <&RawValue>::deserialize(deserializer)?;
        Ok((value.get() != "null").then_some(value))
    }
}

/// `newMessage`, and `message` in an acknowledgement.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireMessage<'a> {
    id: i64,
    room_id: u64,
    seq: u64,
    content: &'a str,
    created_at: String,
    user_id: &'a str,
    user: WireUser<'a>,
}

#[derive(Serialize)]
struct WireUser<'a> {
    id: &'a str,
    name: &'a str,
}

impl<'a> From<&'a Message> for WireMessage<'a> {
    fn from(message: &'a Message) -> Self {
        let id = message.author.id.as_str();
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
        }
    }
}

/// `joinedRoom`, and the acknowledgement of `joinRoom`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JoinedRoom {
    room_id: u64,
    seq: u64,
}

impl JoinedRoom {
    pub(crate) fn new(room_id: RoomId, seam: Seq) -> Self {
        Self {
            room_id: room_id.get(),
            seq: seam.get(),
        }
    }
}

/// `leftRoom`, and the acknowledgement of `leaveRoom`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeftRoom {
    room_id: u64,
}

impl LeftRoom {
    pub(crate) fn new(room_id: RoomId) -> Self {
        Self {
            room_id: room_id.get(),
        }
    }
}

/// The acknowledgement of `sendMessage`.
#[derive(Serialize)]
pub(crate) struct SentMessage<'a> {
    pub(crate) message: WireMessage<'a>,
}

#[cfg(test)]
mod tests;
