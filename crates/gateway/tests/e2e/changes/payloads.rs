//! The payloads of the events about changes, and `afterRev` of `joinRoom`, valid and malformed.

use serde_json::json;

use crate::payloads::{MAX, assert_malformed, member, outside};
use crate::support::client::Client;
use crate::support::{Database, Gateway};

/// The events, each with a valid payload.
const EVENTS: [(&str, &str); 5] = [
    ("editMessage", r#"{"roomId":1,"seq":1,"content":"x"}"#),
    ("deleteMessage", r#"{"roomId":1,"seq":3}"#),
    ("setReaction", r#"{"roomId":1,"seq":1,"key":"+","on":true}"#),
    ("listReactions", r#"{"roomId":1,"seq":1,"key":"+"}"#),
    ("listChanges", r#"{"roomId":1,"afterRev":0}"#),
];

/// A number: the event, its field, the other fields, its range, and whether it is required.
type Number = (&'static str, &'static str, &'static str, (u64, u64), bool);

const NUMBERS: [Number; 12] = [
    (
        "editMessage",
        "roomId",
        r#""seq":1,"content":"x""#,
        (1, MAX),
        true,
    ),
    (
        "editMessage",
        "seq",
        r#""roomId":1,"content":"x""#,
        (1, MAX),
        true,
    ),
    ("deleteMessage", "roomId", r#""seq":1"#, (1, MAX), true),
    ("deleteMessage", "seq", r#""roomId":1"#, (1, MAX), true),
    (
        "setReaction",
        "roomId",
        r#""seq":1,"key":"+","on":true"#,
        (1, MAX),
        true,
    ),
    (
        "setReaction",
        "seq",
        r#""roomId":1,"key":"+","on":true"#,
        (1, MAX),
        true,
    ),
    (
        "listReactions",
        "roomId",
        r#""seq":1,"key":"+""#,
        (1, MAX),
        true,
    ),
    (
        "listReactions",
        "seq",
        r#""roomId":1,"key":"+""#,
        (1, MAX),
        true,
    ),
    (
        "listReactions",
        "limit",
        r#""roomId":1,"seq":1,"key":"+""#,
        (1, 200),
        false,
    ),
    ("listChanges", "afterRev", r#""roomId":1"#, (0, MAX), true),
    (
        "listChanges",
        "limit",
        r#""roomId":1,"afterRev":0"#,
        (1, 200),
        false,
    ),
    (
        "joinRoom",
        "afterRev",
        r#""roomId":1,"afterSeq":0"#,
        (0, MAX),
        false,
    ),
];

async fn assert_nothing_changed(client: &mut Client) {
    let list = json!({"roomId": 1, "afterRev": 0});
    let page = client.call("listChanges", &list).await;
    assert_eq!(page["messages"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_out_of_range_is_refused_with_its_field_and_its_range() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = member(&gateway).await;
    for (event, name, others, (least, most), is_required) in NUMBERS {
        let refusal = format!("{name} must be an integer from {least} to {most}");
        for value in outside(least, most) {
            let arguments = format!(",{{{others},\"{name}\":{value}}}");
            assert_malformed(&mut client, event, &arguments, &refusal).await;
        }
        let absent = [
            format!(",{{{others}}}"),
            format!(",{{{others},\"{name}\":null}}"),
        ];
        for arguments in absent {
            match is_required {
                true => {
                    let missing = format!("{name} is missing");
                    assert_malformed(&mut client, event, &arguments, &missing).await;
                }
                false => {
                    let id = client.emit_raw(&format!("[\"{event}\"{arguments}]")).await;
                    assert_eq!(client.ack(id).await["ok"], true, "{event}{arguments}");
                }
            }
        }
        let twice = format!(",{{{others},\"{name}\":1,\"{name}\":1}}");
        let refusal = "the payload contains a duplicate key";
        assert_malformed(&mut client, event, &twice, refusal).await;
    }
    // None of it changed anything.
    assert_eq!(client.join(1).await, 3);
    assert_nothing_changed(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_or_a_flag_that_is_not_valid_is_refused_with_its_field() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = member(&gateway).await;
    let long = |character: &str, length: usize| format!("\"{}\"", character.repeat(length));
    let content = [
        "null".to_owned(),
        r#""""#.into(),
        r#"" ""#.into(),
        r#""\u00a0\n""#.into(),
        r#""a\u0000""#.into(),
        "1".into(),
        "true".into(),
        "[]".into(),
        "{}".into(),
        r#"["x"]"#.into(),
        long("é", 4001),
    ];
    let key = [
        "null".to_owned(),
        r#""""#.into(),
        r#"" ""#.into(),
        r#""a b""#.into(),
        r#""a\t""#.into(),
        r#""\na""#.into(),
        r#""a\u00a0b""#.into(),
        r#""\u3000""#.into(),
        r#""\u2028""#.into(),
        r#""a\u0000""#.into(),
        "1".into(),
        "true".into(),
        "[]".into(),
        "{}".into(),
        long("a", 33),
        long("👍", 33),
    ];
    let on = ["null", "0", "1", r#""true""#, r#""""#, "[]", "{}", "[true]"].map(str::to_owned);
    let after = ["1.5", "true", "[]", "{}", r#""""#, r#""a\u0000""#].map(str::to_owned);
    for (event, name, others, values) in [
        (
            "editMessage",
            "content",
            r#""roomId":1,"seq":1"#,
            &content[..],
        ),
        (
            "setReaction",
            "key",
            r#""roomId":1,"seq":1,"on":true"#,
            &key,
        ),
        ("listReactions", "key", r#""roomId":1,"seq":1"#, &key),
        ("setReaction", "on", r#""roomId":1,"seq":1,"key":"+""#, &on),
        (
            "listReactions",
            "after",
            r#""roomId":1,"seq":1,"key":"+""#,
            &after,
        ),
    ] {
        for value in values {
            let arguments = format!(",{{{others},\"{name}\":{value}}}");
            assert_malformed(&mut client, event, &arguments, name).await;
        }
        if name != "after" {
            let arguments = format!(",{{{others}}}");
            let missing = format!("{name} is missing");
            assert_malformed(&mut client, event, &arguments, &missing).await;
        }
    }
    let alone = r#",{"roomId":1,"afterRev":0}"#;
    assert_malformed(&mut client, "joinRoom", alone, "afterRev needs afterSeq").await;
    assert_nothing_changed(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_not_exactly_one_object_is_refused() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = member(&gateway).await;
    for (event, valid) in EVENTS {
        assert_malformed(&mut client, event, "", "the payload is missing").await;
        for payload in ["null", "1", "\"x\"", "true", "[]"] {
            let arguments = format!(",{payload}");
            let refusal = "the payload must be an object";
            assert_malformed(&mut client, event, &arguments, refusal).await;
        }
        let arguments = format!(",{valid},{valid}");
        assert_malformed(&mut client, event, &arguments, "there must be one payload").await;
        let twice = valid.replace('}', r#","x":1,"x":1}"#);
        let arguments = format!(",{twice}");
        let refusal = "the payload contains a duplicate key";
        assert_malformed(&mut client, event, &arguments, refusal).await;
    }
    assert_nothing_changed(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_payloads_with_unknown_keys_and_the_longest_texts_are_accepted() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = member(&gateway).await;
    for (event, valid) in EVENTS {
        let payload = valid.replace('}', r#","unknown":{},"limit":null,"after":null}"#);
        let id = client.emit_raw(&format!("[\"{event}\",{payload}]")).await;
        let answer = client.ack(id).await;
        assert_eq!(answer["ok"], true, "{event} {payload}: {answer}");
    }
    let longest = "é".repeat(4000);
    let edit = json!({"roomId": 1, "seq": 1, "content": longest});
    let edited = client.call("editMessage", &edit).await;
    assert_eq!(edited["message"]["content"], longest);
    for key in ["👍".repeat(32), "a".repeat(32), "\"\\'<&".to_owned()] {
        let reaction = json!({"roomId": 1, "seq": 1, "key": key, "on": true});
        let reacted = client.call("setReaction", &reaction).await;
        let keys = reacted["message"]["reactions"].as_array().unwrap();
        assert_eq!(keys.last().unwrap()["key"], key);
    }
}
