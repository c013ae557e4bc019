//! A client's packets, parsed into values that are always valid.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use chat_domain::use_cases::{PageLimit, PageStart};
use chat_domain::{ClientMessageId, Content, MAX_NUMBER, RoomId, Seq};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

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
    /// States what is wrong, and names the field.
    #[error("{0}")]
    Payload(Cow<'static, str>),
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

/// The fields of a payload that the contract defines; `None` is absent or `null`.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    room_id: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
    client_message_id: Option<&'a RawValue>,
    after_seq: Option<&'a RawValue>,
    before_seq: Option<&'a RawValue>,
    seq: Option<&'a RawValue>,
    token: Option<&'a RawValue>,
    limit: Option<&'a RawValue>,
    has_duplicates: bool,
}

impl<'a> Fields<'a> {
    fn read(payload: &'a RawValue) -> Result<Self, Malformed> {
        serde_json::Deserializer::from_str(payload.get())
            .deserialize_map(FieldsVisitor)
            .map_err(|_| malformed("the payload must be an object"))
    }

    /// Returns `roomId`.
    pub(crate) fn room_id(&self) -> Result<RoomId, Malformed> {
        let room_id = required("roomId", self.room_id)?;
        let number = integer(room_id.get()).and_then(|number| RoomId::new(number).ok());
        number.ok_or_else(|| out_of_range("roomId", 1, MAX_NUMBER))
    }

    /// Returns `afterSeq`.
    pub(crate) fn after_seq(&self) -> Result<Option<Seq>, Malformed> {
        self.position("afterSeq", self.after_seq, 0)
    }

    /// Returns `seq`.
    pub(crate) fn seq(&self) -> Result<Seq, Malformed> {
        let seq = required("seq", self.seq)?;
        let seq = self.position("seq", Some(seq), 1)?;
        Ok(seq.unwrap_or_default())
    }

    /// Returns a position of at least `least`.
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

    /// Returns where a page starts.
    pub(crate) fn page_start(&self) -> Result<PageStart, Malformed> {
        let before = self.position("beforeSeq", self.before_seq, 1)?;
        let after = self.after_seq()?;
        match (before, after) {
            (None, None) => Ok(PageStart::Newest),
            (Some(before), None) => Ok(PageStart::Before(before)),
            (None, Some(after)) => Ok(PageStart::After(after)),
            (Some(_), Some(_)) => Err(malformed("beforeSeq and afterSeq are mutually exclusive")),
        }
    }

    /// Returns `limit`.
    pub(crate) fn limit(&self) -> Result<PageLimit, Malformed> {
        let Some(field) = self.limit else {
            return Ok(PageLimit::default());
        };
        let limit = integer(field.get()).and_then(|limit| usize::try_from(limit).ok());
        limit
            .and_then(PageLimit::new)
            .ok_or_else(|| out_of_range("limit", 1, PageLimit::MAX as u64))
    }

    /// Returns `content`.
    pub(crate) fn content(&self) -> Result<Content, Malformed> {
        let content = required("content", self.content)?;
        let text: String = serde_json::from_str(content.get())
            .map_err(|_| malformed("content must be a string of Unicode text"))?;
        Content::new(text).map_err(|error| malformed(format!("content {error}")))
    }

    /// Returns `token`. One that is not a string is an invalid token, as in the handshake.
    pub(crate) fn token(&self) -> Result<Token, Malformed> {
        let token = required("token", self.token)?;
        let token = serde_json::from_str(token.get());
        token.map(Token).map_err(|_| Malformed::Token)
    }

    /// Returns `clientMessageId`.
    pub(crate) fn client_message_id(&self) -> Result<Option<ClientMessageId>, Malformed> {
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

/// Returns a JSON number's value if it is a non-negative integer: `1`, and also `1.0` and
/// `1e0`, which are the same number in JSON.
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
        // The known keys that were seen, by their place in the match below.
        let mut known = [false; 8];
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
                "token" => (7, &mut fields.token),
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

/// Reads a value; `None` for `null`.
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
