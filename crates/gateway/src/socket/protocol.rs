//! A client's events, parsed to values that cannot be wrong.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use chat_domain::use_cases::{PageLimit, PageStart, SentMessage};
use chat_domain::{ClientMessageId, Content, MAX_NUMBER, RoomId, Seq};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What a client asks for, valid in form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    JoinRoom {
        room_id: RoomId,
        after: Option<Seq>,
    },
    LeaveRoom {
        room_id: RoomId,
    },
    SendMessage(SentMessage),
    ListMessages {
        room_id: RoomId,
        start: PageStart,
        limit: PageLimit,
    },
    MarkRead {
        room_id: RoomId,
        seq: Seq,
    },
}

/// An event as it came in: its name, room and id (as far as they can be told, for
/// the answer), and what it asks for or why it asks for nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) event: Option<String>,
    pub(crate) room_id: Option<RoomId>,
    pub(crate) client_message_id: Option<ClientMessageId>,
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

fn malformed(what: impl Into<Cow<'static, str>>) -> Malformed {
    Malformed::Payload(what.into())
}

/// The events that there are.
const EVENTS: [&str; 5] = [
    "joinRoom",
    "leaveRoom",
    "sendMessage",
    "listMessages",
    "markRead",
];

/// Reads an event packet's array: `["sendMessage",{…}]`.
pub(crate) fn read(packet: &str) -> Received {
    let mut received = Received {
        event: None,
        room_id: None,
        client_message_id: None,
        outcome: Err(malformed(
            "the packet is no JSON array of an event and its payload",
        )),
    };
    let Ok(arguments) = serde_json::from_str::<Arguments<'_>>(packet) else {
        return received;
    };
    received.outcome = read_payload(&arguments, &mut received);
    received.event = Some(arguments.event.into_owned());
    received
}

fn read_payload(arguments: &Arguments<'_>, known: &mut Received) -> Result<Event, Malformed> {
    let event: &str = &arguments.event;
    if !EVENTS.contains(&event) {
        return Err(Malformed::UnknownEvent);
    }
    let Some(payload) = arguments.payload else {
        return Err(malformed("the payload is missing"));
    };
    let fields = Fields::read(payload)?;
    let room = fields.room_id();
    known.room_id = room.as_ref().ok().copied();
    if event == "sendMessage" {
        known.client_message_id = fields.client_message_id().ok().flatten();
    }
    if arguments.has_more {
        return Err(malformed(
            "there must be one payload, not several arguments",
        ));
    }
    if fields.has_duplicates {
        return Err(malformed("the payload has a key twice"));
    }
    let room_id = room?;
    Ok(match event {
        "joinRoom" => Event::JoinRoom {
            room_id,
            after: fields.position("afterSeq", fields.after_seq, 0)?,
        },
        "leaveRoom" => Event::LeaveRoom { room_id },
        "listMessages" => Event::ListMessages {
            room_id,
            start: fields.page_start()?,
            limit: fields.limit()?,
        },
        "markRead" => {
            let seq = fields.position("seq", Some(required("seq", fields.seq)?), 1)?;
            Event::MarkRead {
                room_id,
                seq: seq.unwrap_or_default(),
            }
        }
        _ => Event::SendMessage(SentMessage {
            room_id,
            content: fields.content()?,
            client_message_id: fields.client_message_id()?,
        }),
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
    client_message_id: Option<&'a RawValue>,
    after_seq: Option<&'a RawValue>,
    before_seq: Option<&'a RawValue>,
    seq: Option<&'a RawValue>,
    limit: Option<&'a RawValue>,
    has_duplicates: bool,
}

impl<'a> Fields<'a> {
    fn read(payload: &'a RawValue) -> Result<Self, Malformed> {
        serde_json::Deserializer::from_str(payload.get())
            .deserialize_map(FieldsVisitor)
            .map_err(|_| malformed("the payload must be an object"))
    }

    fn room_id(&self) -> Result<RoomId, Malformed> {
        let room_id = required("roomId", self.room_id)?;
        let number = integer(room_id.get()).and_then(|number| RoomId::new(number).ok());
        number.ok_or_else(|| out_of_range("roomId", 1, MAX_NUMBER))
    }

    /// A position, from `least` on.
    fn position(
        &self,
        name: &'static str,
        field: Option<&RawValue>,
        least: u64,
    ) -> Result<Option<Seq>, Malformed> {
        let Some(field) = field else { return Ok(None) };
        let number = integer(field.get()).filter(|number| *number >= least);
        match number.and_then(|number| Seq::new(number).ok()) {
            Some(seq) => Ok(Some(seq)),
            None => Err(out_of_range(name, least, MAX_NUMBER)),
        }
    }

    fn page_start(&self) -> Result<PageStart, Malformed> {
        let before = self.position("beforeSeq", self.before_seq, 1)?;
        let after = self.position("afterSeq", self.after_seq, 0)?;
        match (before, after) {
            (None, None) => Ok(PageStart::Newest),
            (Some(before), None) => Ok(PageStart::Before(before)),
            (None, Some(after)) => Ok(PageStart::After(after)),
            (Some(_), Some(_)) => Err(malformed("beforeSeq and afterSeq exclude each other")),
        }
    }

    fn limit(&self) -> Result<PageLimit, Malformed> {
        let Some(field) = self.limit else {
            return Ok(PageLimit::default());
        };
        let limit = integer(field.get()).and_then(|limit| usize::try_from(limit).ok());
        limit
            .and_then(PageLimit::new)
            .ok_or_else(|| out_of_range("limit", 1, PageLimit::MAX as u64))
    }

    fn content(&self) -> Result<Content, Malformed> {
        let content = required("content", self.content)?;
        let text: String = serde_json::from_str(content.get())
            .map_err(|_| malformed("content must be a string of Unicode text"))?;
        Content::new(text).map_err(|error| malformed(format!("content {error}")))
    }

    fn client_message_id(&self) -> Result<Option<ClientMessageId>, Malformed> {
        let Some(field) = self.client_message_id else {
            return Ok(None);
        };
        let text: String = serde_json::from_str(field.get())
            .map_err(|_| malformed("clientMessageId must be a string"))?;
        match ClientMessageId::new(text) {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(malformed(format!("clientMessageId {error}"))),
        }
    }
}

fn out_of_range(name: &str, least: u64, most: u64) -> Malformed {
    malformed(format!("{name} must be an integer from {least} to {most}"))
}

fn required<'a>(
    name: &'static str,
    field: Option<&'a RawValue>,
) -> Result<&'a RawValue, Malformed> {
    field.ok_or_else(|| malformed(format!("{name} is missing")))
}

/// A JSON number's value if it is an integer from 0 on: `1`, and `1.0` and `1e0`,
/// which are the same number to JSON.
fn integer(json: &str) -> Option<u64> {
    if let Ok(number) = serde_json::from_str::<u64>(json) {
        return Some(number);
    }
    let number = serde_json::from_str::<f64>(json).ok()?;
    let exact = number.fract() == 0.0 && (0.0..=MAX_NUMBER as f64).contains(&number);
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
        // The known keys that were there, by their place in the match below.
        let mut known = [false; 7];
        let mut unknown = HashSet::new();
        while let Some(Text(key)) = map.next_key()? {
            let (place, field) = match &*key {
                "roomId" => (0, &mut fields.room_id),
                "content" => (1, &mut fields.content),
                "clientMessageId" => (2, &mut fields.client_message_id),
                "afterSeq" => (3, &mut fields.after_seq),
                "beforeSeq" => (4, &mut fields.before_seq),
                "seq" => (5, &mut fields.seq),
                "limit" => (6, &mut fields.limit),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    fields.has_duplicates |= !unknown.insert(key);
                    continue;
                }
            };
            *field = map.next_value_seed(PresentSeed)?;
            fields.has_duplicates |= std::mem::replace(&mut known[place], true);
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

#[cfg(test)]
mod tests;
