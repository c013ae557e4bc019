//! The metadata of a message: a JSON object that only the product understands.
//!
//! It is brought into one form, in which it is measured, stored, compared with that of a repeat, and
//! delivered: without whitespace, with the keys of each object in ascending order, and with no more
//! escapes in texts than JSON requires. Numbers stay as they were spelled, because no type holds
//! them all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chat_domain::MessageMetadata;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Malformed, Text, malformed_field};

const NAME: &str = "metadata";

/// Every later reader must be able to parse it, together with the objects that contain it. Some
/// parsers permit 64 levels.
const MAX_DEPTH: usize = 50;

/// A character has at most so many times fewer bytes than its escape.
const MAX_ESCAPE: usize = 6;

/// Reads an object without duplicate keys, and brings it into its one form.
pub(super) fn parse(json: &RawValue) -> Result<MessageMetadata, Malformed> {
    let compact = compact(json.get());
    if !compact.starts_with('{') {
        return Err(malformed_field(NAME, Flaw::NotAnObject.to_string()));
    }
    // Bounds the work of what follows, which grows with the depth.
    let mut canonical = compact;
    if canonical.len() <= MAX_ESCAPE * MessageMetadata::MAX_BYTES {
        let compact = std::mem::take(&mut canonical);
        write(&compact, MAX_DEPTH, &mut canonical)
            .map_err(|flaw| malformed_field(NAME, flaw.to_string()))?;
    }
    MessageMetadata::new(canonical).map_err(|error| malformed_field(NAME, error.to_string()))
}

/// Why it is refused.
#[derive(Debug, thiserror::Error)]
enum Flaw {
    #[error("must be an object of Unicode text")]
    NotAnObject,
    #[error("contains a duplicate key")]
    DuplicateKey,
    #[error("must be at most {MAX_DEPTH} levels deep")]
    TooDeep,
}

impl From<serde_json::Error> for Flaw {
    fn from(_: serde_json::Error) -> Self {
        Self::NotAnObject
    }
}

/// Removes the whitespace between the tokens of valid JSON.
fn compact(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let keep = |c: &char| {
        let is_kept = is_text || !c.is_ascii_whitespace();
        match c {
            '"' if !is_escaped => is_text = !is_text,
            _ => {}
        }
        is_escaped = is_text && *c == '\\' && !is_escaped;
        is_kept
    };
    json.chars().filter(keep).collect()
}

/// Writes valid JSON without whitespace in its one form.
fn write(json: &str, depth: usize, out: &mut String) -> Result<(), Flaw> {
    let is_deep = json.starts_with(['{', '[']);
    let depth = match depth.checked_sub(usize::from(is_deep)) {
        Some(depth) => depth,
        None => return Err(Flaw::TooDeep),
    };
    let mut separator = "";
    match json.as_bytes().first() {
        Some(b'{') => {
            let Entries(entries) = serde_json::from_str(json)?;
            out.push('{');
            for (key, value) in entries.ok_or(Flaw::DuplicateKey)? {
                out.push_str(separator);
                separator = ",";
                out.push_str(&Value::from(key).to_string());
                out.push(':');
                write(value.get(), depth, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            out.push('[');
            for item in items {
                out.push_str(separator);
                separator = ",";
                write(item.get(), depth, out)?;
            }
            out.push(']');
        }
        Some(b'"') => {
            let Text(text) = serde_json::from_str(json)?;
            out.push_str(&Value::from(text).to_string());
        }
        Some(b'-' | b'0'..=b'9') => {
            // Some numbers exceed every type.
            serde_json::from_str::<f64>(json)?;
            out.push_str(json);
        }
        _ => out.push_str(json),
    }
    Ok(())
}

/// The entries of an object, unless a key is there twice.
struct Entries<'a>(Option<BTreeMap<Cow<'a, str>, &'a RawValue>>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                let mut is_unique = true;
                while let Some((Text(key), value)) = map.next_entry()? {
                    is_unique &= entries.insert(key, value).is_none();
                }
                Ok(Entries(is_unique.then_some(entries)))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
