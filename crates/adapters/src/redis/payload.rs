//! What travels: typed, versioned JSON.
//!
//! Hints of one room, in their order:
//!
//! ```json
//! {"v":1,"node":"3f…","entries":[
//!     {"message":{"seq":57,"encoded":{…}}},
//!     {"read":{"user":"42","seq":56}},
//!     {"typing":{"user":"42","name":"Ada","on":true}},
//!     {"rules":{"number":3,"encoded":{…}}},
//!     {"rules":{"number":4,"user":"42","encoded":{…}}},
//!     {"generation":6,"closed":{}},
//!     {"generation":6,"message":{"seq":1,"encoded":{…}}}]}
//! ```
//!
//! A hint without `generation` is of the room's first one.
//! `encoded` is the message as clients receive it, verbatim; in `rules`, it is the payload of
//! `roomChanged`, or that of `memberChanged` if there is a `user`.
//!
//! A receiver ignores keys that it does not know. It counts as invalid what it cannot
//! interpret: another version, an unknown kind, a value out of range. During a rolling
//! upgrade, an older node therefore misses a new kind of hint and finds it in the log. The same
//! holds for [`commands`].

mod commands;

use std::borrow::Cow;
use std::sync::Arc;

use chat_domain::{
    ChangeSubject, DisplayName, Generation, MAX_NUMBER, Rev, RoomEntry, RulesNumber, Seq,
    StoredChange, StoredMessage, TypingSignal, User, UserId,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(super) use self::commands::{encode_command, parse_command};

const VERSION: u32 = 1;

/// The name of this process among the nodes.
#[derive(Debug, Clone)]
pub(super) struct NodeId {
    number: String,
    /// How every payload with hints of this node begins.
    head: String,
}

/// The hints of a payload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) entries: Vec<(Generation, RoomEntry)>,
    /// How many parts could not be interpreted.
    pub(super) invalid: u64,
}

#[derive(Deserialize)]
struct Hints<'a> {
    v: u32,
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
}

/// One of its fields is set, besides the generation.
#[derive(Default, Serialize, Deserialize)]
struct Entry<'a> {
    #[serde(default, skip_serializing_if = "is_first")]
    generation: u64,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    message: Option<MessageEntry<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    read: Option<ReadEntry<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    typing: Option<TypingEntry<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    rules: Option<RulesEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<ChangesEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<ClosedEntry>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_first(generation: &u64) -> bool {
    *generation == Generation::FIRST.get()
}

#[derive(Serialize, Deserialize)]
struct MessageEntry<'a> {
    seq: u64,
    #[serde(borrow)]
    encoded: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct ReadEntry<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
struct TypingEntry<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    on: bool,
}

#[derive(Serialize, Deserialize)]
struct RulesEntry<'a> {
    number: u64,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    encoded: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct ChangesEntry {
    rev: u64,
}

#[derive(Serialize, Deserialize)]
struct ClosedEntry {}

impl NodeId {
    /// Returns an id that no other node has.
    pub(super) fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system has random numbers");
        Self::new(u128::from_ne_bytes(bytes))
    }

    pub(super) fn new(id: u128) -> Self {
        let number = format!("{id:032x}");
        Self {
            head: format!(r#"{{"v":{VERSION},"node":"{number}","entries":["#),
            number,
        }
    }

    /// Returns the number, in hexadecimal digits.
    pub(super) fn number(&self) -> &str {
        &self.number
    }

    /// Returns an empty payload for hints of this node.
    pub(super) fn begin(&self) -> Payload {
        Payload {
            json: self.head.clone().into_bytes(),
            hints: 0,
        }
    }

    /// Returns whether this node sent the payload. Nothing is parsed for it.
    pub(super) fn sent(&self, payload: &[u8]) -> bool {
        payload.starts_with(self.head.as_bytes())
    }
}

/// Hints of one room, being joined.
pub(super) struct Payload {
    json: Vec<u8>,
    hints: u64,
}

impl Payload {
    /// Adds a hint.
    ///
    /// # Errors
    /// An encoding is not JSON.
    pub(super) fn push(
        &mut self,
        generation: Generation,
        entry: &RoomEntry,
    ) -> Result<(), serde_json::Error> {
        let entry = match entry {
            RoomEntry::Message(message) => Entry {
                message: Some(MessageEntry {
                    seq: message.seq().get(),
                    encoded: serde_json::from_str(message.encoded())?,
                }),
                ..Entry::default()
            },
            RoomEntry::ReadPointer { user_id, seq } => Entry {
                read: Some(ReadEntry {
                    user: user_id.as_str().into(),
                    seq: seq.get(),
                }),
                ..Entry::default()
            },
            RoomEntry::Typing(signal) => Entry {
                typing: Some(TypingEntry {
                    user: signal.user.id.as_str().into(),
                    name: signal.user.name.as_str().into(),
                    on: signal.typing,
                }),
                ..Entry::default()
            },
            RoomEntry::Rules { number, change } => Entry {
                rules: Some(RulesEntry {
                    number: number.get(),
                    user: match change.subject() {
                        ChangeSubject::Room => None,
                        ChangeSubject::Member(user_id) => Some(user_id.as_str().into()),
                    },
                    encoded: serde_json::from_str(change.encoded())?,
                }),
                ..Entry::default()
            },
            RoomEntry::Changes { rev } => Entry {
                changes: Some(ChangesEntry { rev: rev.get() }),
                ..Entry::default()
            },
            RoomEntry::Closed => Entry {
                closed: Some(ClosedEntry {}),
                ..Entry::default()
            },
        };
        let entry = Entry {
            generation: generation.get(),
            ..entry
        };
        if self.hints > 0 {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, &entry)?;
        self.hints += 1;
        Ok(())
    }

    /// Returns how many hints it holds.
    pub(super) fn hints(&self) -> u64 {
        self.hints
    }

    /// Returns the JSON.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.json.extend_from_slice(b"]}");
        self.json
    }
}

impl Received {
    /// Reads the hints of a payload, as far as they can be interpreted.
    pub(super) fn parse(payload: &[u8]) -> Self {
        let mut received = Self::default();
        match serde_json::from_slice::<Hints>(payload) {
            Ok(hints) if hints.v == VERSION => {
                for entry in hints.entries {
                    match parse_entry(entry.get()) {
                        Some(entry) => received.entries.push(entry),
                        None => received.invalid += 1,
                    }
                }
            }
            _ => received.invalid += 1,
        }
        received
    }
}

fn parse_entry(json: &str) -> Option<(Generation, RoomEntry)> {
    let entry: Entry = serde_json::from_str(json).ok()?;
    let generation = match entry.generation {
        number @ 0..=MAX_NUMBER => Generation::new(number),
        _ => return None,
    };
    Some((generation, parse_change(entry)?))
}

fn parse_change(entry: Entry<'_>) -> Option<RoomEntry> {
    match entry {
        Entry {
            message: Some(MessageEntry { seq, encoded }),
            read: None,
            typing: None,
            rules: None,
            changes: None,
            closed: None,
            ..
        } => {
            // The first message has position 1.
            let seq = Seq::new(seq).ok().filter(|seq| *seq > Seq::START)?;
            let message = StoredMessage::new(seq, encoded.get().into());
            Some(RoomEntry::Message(Arc::new(message)))
        }
        Entry {
            message: None,
            read: Some(ReadEntry { user, seq }),
            typing: None,
            rules: None,
            changes: None,
            closed: None,
            ..
        } => Some(RoomEntry::ReadPointer {
            user_id: UserId::new(user).ok()?,
            seq: Seq::new(seq).ok()?,
        }),
        Entry {
            message: None,
            read: None,
            typing: Some(TypingEntry { user, name, on }),
            rules: None,
            changes: None,
            closed: None,
            ..
        } => {
            let user = User {
                id: UserId::new(user).ok()?,
                name: DisplayName::from_text(&name),
            };
            let signal = TypingSignal { user, typing: on };
            Some(RoomEntry::Typing(Arc::new(signal)))
        }
        Entry {
            message: None,
            read: None,
            typing: None,
            rules:
                Some(RulesEntry {
                    number: number @ 1..=MAX_NUMBER,
                    user,
                    encoded,
                }),
            changes: None,
            closed: None,
            ..
        } => {
            let subject = match user {
                None => ChangeSubject::Room,
                Some(user) => ChangeSubject::Member(UserId::new(user).ok()?),
            };
            let change = StoredChange::new(subject, encoded.get().into());
            Some(RoomEntry::Rules {
                number: RulesNumber::new(number),
                change: Arc::new(change),
            })
        }
        Entry {
            message: None,
            read: None,
            typing: None,
            rules: None,
            changes: Some(ChangesEntry { rev }),
            closed: None,
            ..
        } => Some(RoomEntry::Changes {
            rev: Rev::new(rev)?,
        }),
        Entry {
            generation: 1..,
            message: None,
            read: None,
            typing: None,
            rules: None,
            changes: None,
            closed: Some(ClosedEntry {}),
        } => Some(RoomEntry::Closed),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
