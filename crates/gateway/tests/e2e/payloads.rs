//! The payloads of `joinRoom`, `listMessages` and `markRead`, valid and malformed, and what a message
//! carries besides its text.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway};

/// JSON that is not an integer of a JavaScript client.
const NEVER_AN_INTEGER: [&str; 15] = [
    "\"1\"",
    "\"\"",
    "true",
    "false",
    "[]",
    "[1]",
    "{}",
    "1.5",
    "0.1",
    "-1",
    "-0.5",
    "-9007199254740991",
    "9007199254740992",
    "18446744073709551616",
    "1e300",
];

/// Returns values that a field with this range refuses.
pub(crate) fn outside(least: u64, most: u64) -> Vec<String> {
    let mut values: Vec<_> = NEVER_AN_INTEGER.map(str::to_owned).into();
    if least > 0 {
        values.extend(["0", "-0", "0.0"].map(str::to_owned));
    }
    values.push((most + 1).to_string());
    values
}

/// A client that has joined room 1, which has three messages.
pub(crate) async fn member(gateway: &Gateway) -> Client {
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    for n in 1..=3 {
        assert_eq!(client.send(1, "x").await["message"]["seq"], n);
    }
    client
}

/// Requires that the arguments after the event's name are refused, with the field's name at
/// the beginning of the message, by the `error` event and by the acknowledgement.
pub(crate) async fn assert_malformed(
    client: &mut Client,
    event: &str,
    arguments: &str,
    message: &str,
) {
    client.take_events();
    let id = client.emit_raw(&format!("[\"{event}\"{arguments}]")).await;
    let answer = client.ack(id).await;
    let context = format!("{event}{arguments}: {answer}");
    assert_eq!(answer["ok"], false, "{context}");
    assert_eq!(answer["error"]["code"], "invalid_payload", "{context}");
    assert_eq!(answer["error"]["retryable"], false, "{context}");
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(text.starts_with(message), "{context}");
    let events = client.take_events();
    assert_eq!(events.len(), 1, "{context} {events:?}");
    let (name, error) = &events[0];
    assert_eq!((name.as_str(), &error["event"]), ("error", &json!(event)));
    assert_eq!(error["code"], "invalid_payload");
    assert_eq!(error["message"], text);
}

/// The range of a field, and a valid payload without it.
struct Field {
    event: &'static str,
    name: &'static str,
    range: (u64, u64),
    required: bool,
    others: &'static str,
}

pub(crate) const MAX: u64 = 9_007_199_254_740_991;

const fn required(event: &'static str, name: &'static str, others: &'static str) -> Field {
    Field {
        event,
        name,
        range: (1, MAX),
        required: true,
        others,
    }
}

const fn optional(event: &'static str, name: &'static str, range: (u64, u64)) -> Field {
    Field {
        event,
        name,
        range,
        required: false,
        others: r#""roomId":1"#,
    }
}

const FIELDS: [Field; 8] = [
    required("joinRoom", "roomId", r#""afterSeq":0"#),
    required("listMessages", "roomId", r#""limit":1"#),
    required("markRead", "roomId", r#""seq":1"#),
    required("markRead", "seq", r#""roomId":1"#),
    optional("joinRoom", "afterSeq", (0, MAX)),
    optional("listMessages", "afterSeq", (0, MAX)),
    optional("listMessages", "beforeSeq", (1, MAX)),
    optional("listMessages", "limit", (1, 200)),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_number_out_of_range_is_refused_with_its_field_and_its_range() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = member(&gateway).await;
    for field in FIELDS {
        let Field {
            event,
            name,
            range: (least, most),
            required,
            others,
        } = field;
        let refusal = format!("{name} must be an integer from {least} to {most}");
        for value in outside(least, most) {
            let arguments = format!(",{{{others},\"{name}\":{value}}}");
            assert_malformed(&mut client, event, &arguments, &refusal).await;
        }
        if required {
            let missing = format!("{name} is missing");
            for payload in [
                format!(",{{{others}}}"),
                format!(",{{{others},\"{name}\":null}}"),
            ] {
                assert_malformed(&mut client, event, &payload, &missing).await;
            }
        }
        let twice = format!(",{{{others},\"{name}\":1,\"{name}\":1}}");
        assert_malformed(
            &mut client,
            event,
            &twice,
            "the payload contains a duplicate key",
        )
        .await;
    }
    // None of it changed anything or cost the connection its membership.
    assert_eq!(client.send(1, "x").await["message"]["seq"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_extras_are_refused_with_their_field() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = member(&gateway).await;
    let mut table: Vec<(&str, String, String)> = Vec::new();
    for value in outside(1, MAX) {
        let refusal = format!("replyTo must be an integer from 1 to {MAX}");
        table.push(("replyTo", value, refusal));
    }
    // Neither a message that does not exist, nor this one, nor a later one.
    for value in [4, 5, 100, MAX] {
        let refusal = "replyTo must be the seq of an earlier message in the room";
        table.push(("replyTo", value.to_string(), refusal.to_owned()));
    }
    let many = format!("[{}]", ["7"; 51].join(","));
    for value in ["1", "true", "{}", "\"7\"", &many] {
        let refusal = "mentions must be an array of at most 50 users";
        table.push(("mentions", value.to_owned(), refusal.to_owned()));
    }
    let long = format!("[\"{}\"]", "x".repeat(256));
    for value in ["[null]", "[1.5]", "[[]]", "[\"\"]", "[true]", &long] {
        table.push(("mentions", value.to_owned(), "mentions [0]: ".to_owned()));
    }
    for value in [
        "1",
        "true",
        "[]",
        "\"{}\"",
        r#"{"a":"\ud800"}"#,
        r#"{"a":1e999}"#,
    ] {
        table.push((
            "metadata",
            value.to_owned(),
            "metadata must be an object".to_owned(),
        ));
    }
    for value in [r#"{"a":1,"a":1}"#, r#"{"a":[{"b":1,"\u0062":2}]}"#] {
        let refusal = "metadata contains a duplicate key";
        table.push(("metadata", value.to_owned(), refusal.to_owned()));
    }
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(2048 - 7));
    let refusal = "metadata must have at most 2048 bytes";
    table.push(("metadata", large, refusal.to_owned()));
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(50), "]".repeat(50));
    let refusal = "metadata must be at most 50 levels deep";
    table.push(("metadata", deep, refusal.to_owned()));
    for (name, value, refusal) in table {
        let arguments = format!(r#",{{"roomId":1,"content":"x","{name}":{value}}}"#);
        assert_malformed(&mut client, "sendMessage", &arguments, &refusal).await;
    }
    for name in ["replyTo", "mentions", "metadata"] {
        let arguments = format!(r#",{{"roomId":1,"content":"x","{name}":null,"{name}":null}}"#);
        let refusal = "the payload contains a duplicate key";
        assert_malformed(&mut client, "sendMessage", &arguments, refusal).await;
    }
    assert_eq!(client.send(1, "x").await["message"]["seq"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_not_exactly_one_object_is_refused() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = member(&gateway).await;
    for (event, valid) in [
        ("joinRoom", r#"{"roomId":1,"afterSeq":0}"#),
        ("listMessages", r#"{"roomId":1}"#),
        ("markRead", r#"{"roomId":1,"seq":1}"#),
    ] {
        assert_malformed(&mut client, event, "", "the payload is missing").await;
        for payload in ["null", "1", "\"x\"", "true", "[]", "[{\"roomId\":1}]"] {
            let arguments = format!(",{payload}");
            assert_malformed(
                &mut client,
                event,
                &arguments,
                "the payload must be an object",
            )
            .await;
        }
        for second in ["null", "1", "{}", valid] {
            let arguments = format!(",{valid},{second}");
            assert_malformed(&mut client, event, &arguments, "there must be one payload").await;
        }
        let twice = valid.replace('}', r#","x":1,"x":1}"#);
        let arguments = format!(",{twice}");
        let refusal = "the payload contains a duplicate key";
        assert_malformed(&mut client, event, &arguments, refusal).await;
    }
    let both = r#",{"roomId":1,"beforeSeq":3,"afterSeq":1}"#;
    let refusal = "beforeSeq and afterSeq are mutually exclusive";
    assert_malformed(&mut client, "listMessages", both, refusal).await;
    assert_eq!(client.send(1, "x").await["message"]["seq"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_each_range_null_and_unknown_keys_are_accepted() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = member(&gateway).await;
    for field in FIELDS {
        let (event, name, (least, most)) = (field.event, field.name, field.range);
        let mut values = vec![
            least.to_string(),
            format!("{least}.0"),
            format!("{least}e0"),
        ];
        if name != "roomId" {
            values.push(most.to_string());
        }
        if !field.required {
            values.push("null".to_owned());
        }
        for value in values {
            let payload = format!("{{{},\"{name}\":{value},\"unknown\":{{}}}}", field.others);
            let id = client.emit_raw(&format!("[\"{event}\",{payload}]")).await;
            let answer = client.ack(id).await;
            assert_eq!(answer["ok"], true, "{event} {payload}: {answer}");
        }
    }
    // `null` counts as absent: it sets no bound, not a bound of 0, and no limit of 0.
    let nulls = json!({"roomId": 1, "beforeSeq": 3, "afterSeq": null, "limit": null});
    let page = client.call("listMessages", &nulls).await;
    assert_eq!(seqs(&page), [1, 2], "{page}");
    client.take_events();
    let joined = json!({"roomId": 1, "afterSeq": null});
    assert_eq!(client.call("joinRoom", &joined).await["ok"], true);
    assert_eq!(client.take_events().len(), 1, "nothing is replayed");
}

fn seqs(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().unwrap().iter();
    messages.map(|m| m["seq"].as_u64().unwrap()).collect()
}
