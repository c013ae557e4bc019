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
//! `roomChanged`, or that of `memberChanged` if there is a `user`. Commands:
//!
//! ```json
//! {"v":1,"disconnect":{"user":"42","number":1769860800500123}}
//! {"v":1,"revoke":{"user":"42","number":3,"issuedBefore":1769860800500}}
//! {"v":1,"revoke":{"user":"42","number":4}}
//! ```
//!
//! A disconnection that is not stored has no `number`. `issuedBefore` is in milliseconds since
//! 1970; without it, the revocation is lifted.
//!
//! A receiver ignores keys that it does not know. It counts as invalid what it cannot
//! interpret: another version, an unknown kind, a value out of range. During a rolling
//! upgrade, an older node therefore misses a new kind of hint and finds it in the log.

use std::borrow::Cow;
use std::sync::Arc;

use chat_domain::ports::NodeCommand;
use chat_domain::{
    ChangeSubject, Disconnection, DisplayName, Generation, MAX_NUMBER, Rev, Revocation, RoomEntry,
    RulesNumber, Seq, StoredChange, StoredMessage, Timestamp, TypingSignal, User, UserId,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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

#[derive(Serialize, Deserialize)]
struct Command<'a> {
    v: u32,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    disconnect: Option<Disconnect<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    revoke: Option<Revoke<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Disconnect<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revoke<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<i64>,
}

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

/// Encodes a command.
pub(super) fn encode_command(command: &NodeCommand) -> Vec<u8> {
    let command = match command {
        NodeCommand::DisconnectUser(disconnection) => Command {
            v: VERSION,
            disconnect: Some(Disconnect {
                user: disconnection.user_id.as_str().into(),
                number: disconnection.number,
            }),
            revoke: None,
        },
        NodeCommand::RevokeTokens(revocation) => Command {
            v: VERSION,
            disconnect: None,
            revoke: Some(Revoke {
                user: revocation.user_id.as_str().into(),
                number: revocation.number,
                issued_before: revocation.issued_before.map(Timestamp::unix_millis),
            }),
        },
    };
    match serde_json::to_vec(&command) {
        Ok(json) => json,
        // Its keys are strings, and none of its parts can fail.
        Err(error) => unreachable!("a command cannot be encoded: {error}"),
    }
}

/// Reads a command; `None` if it cannot be interpreted.
pub(super) fn parse_command(payload: &[u8]) -> Option<NodeCommand> {
    match serde_json::from_slice(payload).ok()? {
        Command {
            v: VERSION,
            disconnect: Some(Disconnect { user, number }),
            revoke: None,
        } => Some(NodeCommand::DisconnectUser(Disconnection {
            user_id: UserId::new(user).ok()?,
            number,
        })),
        Command {
            v: VERSION,
            disconnect: None,
            revoke: Some(revoked),
        } => Some(NodeCommand::RevokeTokens(Revocation {
            user_id: UserId::new(revoked.user).ok()?,
            number: revoked.number,
            issued_before: revoked.issued_before.map(Timestamp::from_unix_millis),
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn message(n: u64, encoded: &str) -> RoomEntry {
        RoomEntry::Message(Arc::new(StoredMessage::new(seq(n), encoded.into())))
    }

    fn read(user: &str, n: u64) -> RoomEntry {
        RoomEntry::ReadPointer {
            user_id: UserId::new(user).unwrap(),
            seq: seq(n),
        }
    }

    fn typing(user: &str, name: &str, on: bool) -> RoomEntry {
        RoomEntry::Typing(Arc::new(TypingSignal {
            user: User {
                id: UserId::new(user).unwrap(),
                name: DisplayName::from_text(name),
            },
            typing: on,
        }))
    }

    fn rules(n: u64, user: Option<&str>, encoded: &str) -> RoomEntry {
        let subject = match user {
            None => ChangeSubject::Room,
            Some(user) => ChangeSubject::Member(UserId::new(user).unwrap()),
        };
        RoomEntry::Rules {
            number: RulesNumber::new(n),
            change: Arc::new(StoredChange::new(subject, encoded.into())),
        }
    }

    /// A hint of a room's first generation.
    fn first(entry: RoomEntry) -> (Generation, RoomEntry) {
        (Generation::FIRST, entry)
    }

    #[test]
    fn hints_arrive_as_they_were_sent() {
        let node = NodeId::random();
        let sent = [
            message(57, r#"{"content":"\u0000 é \"","n":1.50}"#),
            read("a\"b\\é", 56),
            typing("a\"b\\é", "\"é", true),
            message(58, "{}"),
            rules(1, None, r#"{"room":{"name":"\"é"}}"#),
            rules(MAX_NUMBER, Some("a\"b\\é"), r#"{"n":1.50}"#),
        ];
        let mut sent = sent.map(first).to_vec();
        sent.push((Generation::new(6), RoomEntry::Closed));
        sent.push((Generation::new(MAX_NUMBER), message(1, "{}")));
        let mut payload = node.begin();
        for (generation, entry) in &sent {
            payload.push(*generation, entry).unwrap();
        }
        assert_eq!(payload.hints(), 8);
        let json = payload.finish();
        assert!(node.sent(&json) && !NodeId::random().sent(&json));
        let expected = Received {
            entries: sent,
            invalid: 0,
        };
        assert_eq!(Received::parse(&json), expected);
    }

    #[test]
    fn an_encoding_that_is_not_json_is_refused_and_leaves_the_others_intact() {
        let mut payload = NodeId::random().begin();
        let mut push = |entry| payload.push(Generation::FIRST, &entry);
        push(message(1, "{}")).unwrap();
        assert!(push(message(2, "{}]")).is_err());
        assert!(push(rules(2, None, "{}]")).is_err());
        push(message(3, "{}")).unwrap();
        let received = Received::parse(&payload.finish());
        assert_eq!(
            received.entries,
            [message(1, "{}"), message(3, "{}")].map(first)
        );
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let json = br#"{"v":1,"node":"another","later":[1],"entries":[
            {"message":{"seq":57,"encoded":{"id":812},"later":true},"later":{}},
            {"read":{"user":"42","seq":56}},
            {"typing":{"user":"42","name":"Ada","on":false}},
            {"rules":{"number":3,"encoded":{"roomId":1},"later":true}},
            {"rules":{"number":4,"user":"42","encoded":{"roomId":1}}},
            {"generation":6,"closed":{"later":true}},
            {"generation":6,"read":{"user":"42","seq":1}}]}"#;
        let sixth = |entry| (Generation::new(6), entry);
        let expected = Received {
            entries: vec![
                first(message(57, r#"{"id":812}"#)),
                first(read("42", 56)),
                first(typing("42", "Ada", false)),
                first(rules(3, None, r#"{"roomId":1}"#)),
                first(rules(4, Some("42"), r#"{"roomId":1}"#)),
                sixth(RoomEntry::Closed),
                sixth(read("42", 1)),
            ],
            invalid: 0,
        };
        assert_eq!(Received::parse(json), expected);
    }

    #[test]
    fn the_format_of_commands_is_the_documented_one() {
        let user_id = UserId::new("42").unwrap();
        let disconnect = |number| {
            NodeCommand::DisconnectUser(Disconnection {
                user_id: user_id.clone(),
                number,
            })
        };
        let revoke = |issued_before: Option<i64>| {
            NodeCommand::RevokeTokens(Revocation {
                user_id: user_id.clone(),
                number: 3,
                issued_before: issued_before.map(Timestamp::from_unix_millis),
            })
        };
        for (json, command) in [
            (r#"{"v":1,"disconnect":{"user":"42"}}"#, disconnect(None)),
            (
                r#"{"v":1,"disconnect":{"user":"42","number":7}}"#,
                disconnect(Some(7)),
            ),
            (
                r#"{"v":1,"revoke":{"user":"42","number":3,"issuedBefore":1769860800500}}"#,
                revoke(Some(1_769_860_800_500)),
            ),
            (r#"{"v":1,"revoke":{"user":"42","number":3}}"#, revoke(None)),
        ] {
            assert_eq!(parse_command(json.as_bytes()), Some(command.clone()));
            assert_eq!(encode_command(&command), json.as_bytes());
            let later = json.replace("}}", r#","later":1},"later":1}"#);
            assert_eq!(parse_command(later.as_bytes()), Some(command));
        }
    }

    #[test]
    fn what_cannot_be_interpreted_is_counted_and_the_rest_is_used() {
        let json = br#"{"v":1,"node":"another","entries":[
            {"presence":{"user":"42"}},
            {"message":{"seq":0,"encoded":{}}},
            {"message":{"seq":-1,"encoded":{}}},
            {"message":{"seq":9007199254740992,"encoded":{}}},
            {"message":{"seq":1}},
            {"message":{"seq":1,"encoded":{}},"read":{"user":"42","seq":1}},
            {"read":{"user":"","seq":1}},
            {"read":{"user":42,"seq":1}},
            {"typing":{"user":"","name":"Ada","on":true}},
            {"typing":{"user":"42","name":"Ada"}},
            {"rules":{"number":0,"encoded":{}}},
            {"rules":{"number":9007199254740992,"encoded":{}}},
            {"rules":{"number":1,"user":"","encoded":{}}},
            {"rules":{"number":1}},
            {"rules":{"number":1,"encoded":{}},"read":{"user":"42","seq":1}},
            {"closed":{}},
            {"generation":6,"closed":7},
            {"generation":6,"closed":{},"read":{"user":"42","seq":1}},
            {"generation":9007199254740992,"read":{"user":"42","seq":1}},
            {"generation":-1,"read":{"user":"42","seq":1}},
            null, [], 7,
            {"read":{"user":"42","seq":1}}]}"#;
        let expected = Received {
            entries: vec![first(read("42", 1))],
            invalid: 23,
        };
        assert_eq!(Received::parse(json), expected);
    }

    #[test]
    fn a_payload_that_does_not_parse_is_one_invalid_part() {
        for json in [
            "",
            "hello",
            "[]",
            "{}",
            r#"{"v":2,"node":"x","entries":[{"read":{"user":"42","seq":1}}]}"#,
            r#"{"v":1,"node":"x","entries":{}}"#,
            r#"{"v":1,"node":"x","entries":[}"#,
            "\u{0}",
        ] {
            let expected = Received {
                entries: vec![],
                invalid: 1,
            };
            assert_eq!(Received::parse(json.as_bytes()), expected, "{json}");
            assert_eq!(parse_command(json.as_bytes()), None, "{json}");
        }
        assert_eq!(Received::parse(b"\xff\xfe").invalid, 1);
        for json in [
            r#"{"v":2,"disconnect":{"user":"42"}}"#,
            r#"{"v":1,"revoke":{"user":"42"}}"#,
            r#"{"v":1,"revoke":{"user":"","number":1}}"#,
            r#"{"v":1,"revoke":{"user":"42","number":-1}}"#,
            r#"{"v":1,"revoke":{"user":"42","number":1,"issuedBefore":"now"}}"#,
            r#"{"v":1,"revoke":{"user":"42","number":1},"disconnect":{"user":"42"}}"#,
            r#"{"v":1,"erase":{"user":"42"}}"#,
            r#"{"v":1,"disconnect":{"user":""}}"#,
        ] {
            assert_eq!(parse_command(json.as_bytes()), None, "{json}");
        }
    }
}
