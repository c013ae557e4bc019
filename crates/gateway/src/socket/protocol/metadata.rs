//! Metadata: a JSON object that is kept as it was sent, because only the product understands
//! it. Every later reader must be able to parse it.

use std::collections::HashSet;
use std::fmt;

use chat_domain::Metadata;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Malformed, Text, malformed_field};

const NAME: &str = "metadata";

/// Checks that the value is an object without duplicate keys, of valid values that are not
/// nested more deeply than parsers permit.
pub(super) fn parse(json: &RawValue) -> Result<Metadata, Malformed> {
    // Its size bounds the work of what follows.
    let metadata = Metadata::new(json.get());
    let metadata = metadata.map_err(|error| malformed_field(NAME, error.to_string()))?;
    match serde_json::Deserializer::from_str(json.get()).deserialize_map(ObjectVisitor) {
        Ok(Keys::Unique) => Ok(metadata),
        Ok(Keys::Duplicate) => Err(malformed_field(NAME, "contains a duplicate key")),
        Err(_) => Err(malformed_field(
            NAME,
            "must be an object of Unicode text, without deep nesting",
        )),
    }
}

enum Keys {
    Unique,
    Duplicate,
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
        let mut keys = Keys::Unique;
        let mut seen = HashSet::new();
        while let Some((Text(key), Valid)) = map.next_entry()? {
            if !seen.insert(key) {
                keys = Keys::Duplicate;
            }
        }
        Ok(keys)
    }
}

/// Any value. `IgnoredAny` would skip it without a look at its depth, its numbers and its
/// escapes.
struct Valid;

impl<'de> Deserialize<'de> for Valid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValidVisitor)
    }
}

struct ValidVisitor;

impl<'de> Visitor<'de> for ValidVisitor {
    type Value = Valid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Valid, E> {
        Ok(Valid)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Valid, E> {
        Ok(Valid)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Valid, E> {
        Ok(Valid)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Valid, E> {
        Ok(Valid)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Valid, E> {
        Ok(Valid)
    }

    fn visit_str<E>(self, _: &str) -> Result<Valid, E> {
        Ok(Valid)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Valid, A::Error> {
        while let Some(Valid) = array.next_element()? {}
        Ok(Valid)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Valid, A::Error> {
        while let Some((Valid, Valid)) = map.next_entry()? {}
        Ok(Valid)
    }
}
