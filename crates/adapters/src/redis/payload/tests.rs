//! The format of hints.

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
}
