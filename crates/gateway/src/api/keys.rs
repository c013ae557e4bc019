//! The keys of the server API: which there are, and whether a request presents one.
//!
//! A key is never kept: only its digest is, and requests are compared with all of them, so that
//! the time a comparison takes depends on nothing that an attacker does not know.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};

/// The shortest key, in bytes.
const MIN_KEY_BYTES: usize = 32;
/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 512;
/// The longest name, in characters.
const MAX_NAME_CHARS: usize = 64;
/// The maximum number of keys: each request is compared with all.
const MAX_KEYS: usize = 64;

/// The keys of the server API, by their unique names. Its `Debug` shows the names alone.
#[derive(Clone)]
pub struct ApiKeys(Box<[ApiKey]>);

#[derive(Clone)]
struct ApiKey {
    name: Arc<str>,
    digest: Digest,
}

/// Why a text does not state keys. Contains no key, and no text that may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiKeys {
    /// There is no key.
    #[error("contains no key: write one name:key per line")]
    Empty,
    /// There are too many.
    #[error("contains more than {MAX_KEYS} keys")]
    TooMany,
    /// A line has no name.
    #[error("line {line}: has no name: write name:key")]
    NoName {
        /// The number of the line.
        line: usize,
    },
    /// A name cannot be logged.
    #[error(
        "line {line}: the name must have 1 to {MAX_NAME_CHARS} characters of A-Z a-z 0-9 - _ ."
    )]
    Name {
        /// The number of the line.
        line: usize,
    },
    /// A key is too weak or cannot be sent.
    #[error(
        "line {line}: the key must have {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes of visible ASCII: \
         generate one with openssl rand -hex 32"
    )]
    Key {
        /// The number of the line.
        line: usize,
    },
    /// A name or a key is used twice.
    #[error("line {line}: the name or the key is already used in an earlier line")]
    Duplicate {
        /// The number of the line.
        line: usize,
    },
}

impl std::str::FromStr for ApiKeys {
    type Err = InvalidApiKeys;

    /// Reads one `name:key` per line. Empty lines count for nothing.
    fn from_str(text: &str) -> Result<Self, InvalidApiKeys> {
        let mut keys: Vec<ApiKey> = Vec::new();
        for (text, line) in text.lines().zip(1..) {
            if text.is_empty() {
                continue;
            }
            let (name, key) = text
                .split_once(':')
                .ok_or(InvalidApiKeys::NoName { line })?;
            if !is_name(name) {
                return Err(InvalidApiKeys::Name { line });
            }
            if !is_key(key) {
                return Err(InvalidApiKeys::Key { line });
            }
            let digest = digest_of(key);
            let is_used =
                |other: &ApiKey| &*other.name == name || other.digest.as_ref() == digest.as_ref();
            if keys.iter().any(is_used) {
                return Err(InvalidApiKeys::Duplicate { line });
            }
            if keys.len() >= MAX_KEYS {
                return Err(InvalidApiKeys::TooMany);
            }
            keys.push(ApiKey {
                name: name.into(),
                digest,
            });
        }
        match keys.is_empty() {
            true => Err(InvalidApiKeys::Empty),
            false => Ok(Self(keys.into())),
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_NAME_CHARS).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn is_key(key: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic();
    (MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(is_allowed)
}

fn digest_of(key: &str) -> Digest {
    digest(&SHA256, key.as_bytes())
}

impl ApiKeys {
    /// Returns the names, for the log.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| &*key.name)
    }

    /// Returns the name of a key that a request presents, if it is one of these. Compares it with
    /// every key, whichever it is.
    fn find(&self, presented: &str) -> Option<Arc<str>> {
        let presented = digest_of(presented);
        let mut found = None;
        for key in &self.0 {
            let is_equal = verify_slices_are_equal(key.digest.as_ref(), presented.as_ref());
            if is_equal.is_ok() {
                found = Some(&key.name);
            }
        }
        found.cloned()
    }
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The keys that are valid now. Clones share them.
#[derive(Debug, Clone)]
pub struct CurrentApiKeys(Arc<RwLock<ApiKeys>>);

impl CurrentApiKeys {
    /// Starts with these keys.
    pub fn new(keys: ApiKeys) -> Self {
        Self(Arc::new(RwLock::new(keys)))
    }

    /// Replaces all keys. Requests in progress are finished.
    pub fn replace(&self, keys: ApiKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Returns the name of the key that an `Authorization` header presents, if it is valid. A
    /// request without such a header is compared as well.
    pub(super) fn find(&self, authorization: Option<&[u8]>) -> Option<Arc<str>> {
        let presented = authorization.and_then(bearer).unwrap_or_default();
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.find(presented)
    }
}

/// Returns the key in the value of an `Authorization` header.
fn bearer(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(key.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "fedcba9876543210fedcba9876543210";

    fn parse(text: &str) -> Result<Vec<String>, InvalidApiKeys> {
        let keys: ApiKeys = text.parse()?;
        Ok(keys.names().map(str::to_owned).collect())
    }

    #[test]
    fn each_line_is_a_name_and_a_key() {
        let text = format!("one:{ONE}\r\n\n two");
        assert_eq!(parse(&text), Err(InvalidApiKeys::NoName { line: 3 }));
        let text = format!("one:{ONE}\r\n\nwith.dots-and_2:{TWO}:x\n");
        assert_eq!(parse(&text).unwrap(), ["one", "with.dots-and_2"]);
        for (text, error) in [
            (String::new(), InvalidApiKeys::Empty),
            ("\n".to_owned(), InvalidApiKeys::Empty),
            (format!(":{ONE}"), InvalidApiKeys::Name { line: 1 }),
            (format!("a b:{ONE}"), InvalidApiKeys::Name { line: 1 }),
            (format!("é:{ONE}"), InvalidApiKeys::Name { line: 1 }),
            (format!("a:{}", &ONE[1..]), InvalidApiKeys::Key { line: 1 }),
            (format!("a:{ONE} "), InvalidApiKeys::Key { line: 1 }),
            (format!("a:{ONE}é"), InvalidApiKeys::Key { line: 1 }),
            (
                format!("a:{}", "x".repeat(513)),
                InvalidApiKeys::Key { line: 1 },
            ),
            (
                format!("a:{ONE}\na:{TWO}"),
                InvalidApiKeys::Duplicate { line: 2 },
            ),
            (
                format!("a:{ONE}\nb:{ONE}"),
                InvalidApiKeys::Duplicate { line: 2 },
            ),
        ] {
            assert_eq!(parse(&text), Err(error), "{text}");
            assert!(!error.to_string().contains(ONE));
        }
    }

    #[test]
    fn a_header_presents_one_of_the_keys_or_none() {
        let keys: ApiKeys = format!("one:{ONE}\ntwo:{TWO}").parse().unwrap();
        assert_eq!(format!("{keys:?}"), r#"["one", "two"]"#);
        let current = CurrentApiKeys::new(keys);
        let find = |value: &str| current.find(Some(value.as_bytes()));
        assert_eq!(find(&format!("Bearer {ONE}")).as_deref(), Some("one"));
        assert_eq!(find(&format!("bearer  {TWO}")).as_deref(), Some("two"));
        for wrong in [
            ONE.to_owned(),
            format!("Basic {ONE}"),
            format!("Bearer {ONE}x"),
            format!("Bearer {}", &ONE[1..]),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            String::new(),
        ] {
            assert_eq!(find(&wrong), None, "{wrong}");
        }
        assert_eq!(current.find(Some(b"Bearer \xff")), None);
        assert_eq!(current.find(None), None);
        current.replace(format!("three:{TWO}").parse().unwrap());
        assert_eq!(find(&format!("Bearer {ONE}")), None);
        assert_eq!(find(&format!("Bearer {TWO}")).as_deref(), Some("three"));
    }
}
