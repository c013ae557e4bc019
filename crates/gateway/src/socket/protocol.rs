//! A client's packets, parsed into values that are always valid.

mod fields;
mod message_metadata;
mod metadata;

use std::borrow::Cow;
use std::fmt;

use chat_domain::{ClientMessageId, RoomId};
use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub(crate) use self::fields::Fields;

/// An event as it arrived: its name, room and id (as far as they can be read, for the
/// reply), and what it asks for or why it is malformed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received<E> {
    pub(crate) event: Option<String>,
    pub(crate) room_id: Option<RoomId>,
    pub(crate) client_message_id: Option<ClientMessageId>,
    pub(crate) outcome: Result<E, Malformed>,
}

/// Why an event is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// States what is wrong with the payload as a whole.
    #[error("{0}")]
    Payload(Cow<'static, str>),
    /// Names the field, and states what is wrong with it.
    #[error("{0} {1}")]
    Field(&'static str, Cow<'static, str>),
    #[error("unknown event")]
    UnknownEvent,
    #[error("the token must be a string")]
    Token,
}

/// A token as a client presents it. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn malformed(what: impl Into<Cow<'static, str>>) -> Malformed {
    Malformed::Payload(what.into())
}

fn malformed_field(name: &'static str, what: impl Into<Cow<'static, str>>) -> Malformed {
    Malformed::Field(name, what.into())
}

/// Reads an event packet's array, `["sendMessage",{…}]`. `parse` turns the name and the
/// payload into an event.
pub(crate) fn read<E>(
    packet: &str,
    parse: impl FnOnce(&str, &Payload<'_>) -> Result<E, Malformed>,
) -> Received<E> {
    let Ok(arguments) = serde_json::from_str::<Arguments<'_>>(packet) else {
        return Received {
            event: None,
            room_id: None,
            client_message_id: None,
            outcome: Err(malformed(
                "the packet must be a JSON array of an event name and its payload",
            )),
        };
    };
    let payload = Payload::read(&arguments);
    let outcome = parse(&arguments.event, &payload);
    // The payload of an unknown event has no meaning.
    let is_known = !matches!(outcome, Err(Malformed::UnknownEvent));
    let fields = payload.fields.as_ref().ok().filter(|_| is_known);
    Received {
        room_id: fields.and_then(|fields| fields.room_id().ok()),
        client_message_id: fields.and_then(|fields| fields.client_message_id().ok().flatten()),
        outcome,
        event: Some(arguments.event.into_owned()),
    }
}

/// The payload of an event.
pub(crate) struct Payload<'a> {
    fields: Result<Fields<'a>, Malformed>,
    /// What is wrong with an object as a whole.
    flaw: Option<&'static str>,
}

impl<'a> Payload<'a> {
    fn read(arguments: &Arguments<'a>) -> Self {
        let fields = match arguments.payload {
            Some(payload) => Fields::read(payload),
            None => Err(malformed("the payload is missing")),
        };
        let has_duplicates = fields.as_ref().is_ok_and(|fields| fields.has_duplicates);
        let flaw = match (arguments.has_more, has_duplicates) {
            (true, _) => Some("there must be one payload, not several arguments"),
            (_, true) => Some("the payload contains a duplicate key"),
            _ => None,
        };
        Self { fields, flaw }
    }

    /// Returns the payload's fields.
    ///
    /// # Errors
    /// [`Malformed`] if the payload is not one object without duplicate keys.
    pub(crate) fn fields(&self) -> Result<&Fields<'a>, Malformed> {
        let fields = self.fields.as_ref().map_err(Clone::clone)?;
        match self.flaw {
            Some(flaw) => Err(malformed(flaw)),
            None => Ok(fields),
        }
    }
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

/// A string, borrowed if it contains no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests;
