//! Events: valid ones take effect in their order, and every invalid one is refused.

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::bystander::Bystander;
use crate::support::client::{Client, Polling};
use crate::support::{Database, Gateway, metric, token};

async fn ada(gateway: &Gateway) -> Client {
    Client::connect(gateway.address, &token("1", "Ada")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_payload_is_refused_and_the_connection_stays_open() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut bystander = Bystander::join(&gateway, 1).await;
    let mut client = ada(&gateway).await;
    client.join(1).await;
    client.event("joinedRoom").await;

    let numbers = [
        "null",
        "\"1\"",
        "true",
        "[]",
        "{}",
        "0",
        "-1",
        "1.5",
        "9007199254740992",
        "9223372036854775808",
        "1e300",
        "-1e300",
        "\"\"",
    ];
    let long = format!("\"{}\"", "a".repeat(4001));
    let longer = format!("\"{}\"", "👨‍👩‍👧‍👦".repeat(600));
    let contents = [
        "null",
        "1",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"  \\n\\u00a0\"",
        "\"a\\u0000b\"",
        "\"\\ud800\"",
        &long,
        &longer,
    ];
    let mut malformed = Vec::new();
    for event in ["joinRoom", "leaveRoom", "sendMessage"] {
        for number in numbers {
            malformed.push((
                event,
                format!(r#"["{event}",{{"roomId":{number},"content":"x"}}]"#),
            ));
        }
        for payload in ["null", "1", "\"x\"", "[]", "[1]", "true", "{}"] {
            malformed.push((event, format!(r#"["{event}",{payload}]"#)));
        }
        let valid = r#"{"roomId":1,"content":"x"}"#;
        malformed.push((event, format!(r#"["{event}"]"#)));
        malformed.push((event, format!(r#"["{event}",{valid},{valid}]"#)));
        malformed.push((event, format!(r#"["{event}",{valid},null]"#)));
        malformed.push((
            event,
            format!(r#"["{event}",{{"roomId":1,"content":"x","roomId":1}}]"#),
        ));
        malformed.push((
            event,
            format!(r#"["{event}",{{"roomId":1,"content":"x","y":1,"y":1}}]"#),
        ));
    }
    for content in contents {
        malformed.push((
            "sendMessage",
            format!(r#"["sendMessage",{{"roomId":1,"content":{content}}}]"#),
        ));
    }
    malformed.push(("sendMessage", r#"["sendMessage",{"roomId":1}]"#.to_owned()));
    malformed.push((
        "sendMessage",
        r#"["sendMessage",{"content":"x"}]"#.to_owned(),
    ));

    for (event, array) in &malformed {
        // Without a requested acknowledgement, the `error` event is the only answer.
        client.send_packet(&format!("42{array}")).await;
        let (name, error) = client.any_event().await;
        assert_eq!(name, "error", "{array}");
        assert_eq!(error["code"], "invalid_payload", "{array}: {error}");
        assert_eq!(error["event"], *event, "{array}");
        assert_eq!(error["retryable"], false);
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
        // With one, the `error` event precedes the acknowledgement.
        let id = client.emit_raw(array).await;
        let answer = client.ack(id).await;
        assert_eq!(answer["ok"], false, "{array}");
        assert_eq!(answer["error"]["code"], "invalid_payload", "{array}");
        let events = client.take_events();
        assert_eq!(events.len(), 1, "{array}");
        assert_eq!(events[0].1["message"], answer["error"]["message"]);
        // Both are still members.
        let message = bystander.send_undisturbed().await;
        assert_eq!(client.event("newMessage").await, message, "{array}");
    }
    let stored = malformed.len();
    assert_eq!(
        client.send(1, "still here").await["message"]["seq"],
        stored + 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_message_names_the_invalid_field() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = ada(&gateway).await;
    for (event, payload, field) in [
        ("joinRoom", json!({"roomId": "1"}), "roomId"),
        (
            "sendMessage",
            json!({"roomId": 1, "content": ""}),
            "content",
        ),
        ("sendMessage", json!({"roomId": 1}), "content"),
        ("sendMessage", json!({"content": "x"}), "roomId"),
    ] {
        let answer = client.call(event, &payload).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(field), "{payload}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_binary_events_are_refused() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut bystander = Bystander::join(&gateway, 1).await;
    let mut client = ada(&gateway).await;
    client.join(1).await;
    for event in ["shout", "joinroom", "", "newMessage", "disconnecting", "ж"] {
        let answer = client.call(event, &json!({"roomId": 1})).await;
        assert_eq!(answer["error"]["code"], "unknown_event", "{event}");
        assert_eq!(client.event("error").await["event"], *event);
        let message = bystander.send_undisturbed().await;
        assert_eq!(client.event("newMessage").await, message);
    }
    // An event with a binary attachment: 5, then the attachment.
    client
        .send_packet(r#"451-7["sendMessage",{"_placeholder":true,"num":0}]"#)
        .await;
    let attachment = Message::binary(vec![1, 2, 3]);
    client.socket.send(attachment).await.unwrap();
    let answer = client.ack(7).await;
    assert_eq!(answer["error"]["code"], "invalid_payload");
    let message = bystander.send_undisturbed().await;
    assert_eq!(client.event("newMessage").await, message);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_are_ignored_and_content_is_stored_as_sent() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = ada(&gateway).await;
    client.join(1).await;
    let texts = [
        "  spaces stay  ".to_owned(),
        "👨‍👩‍👧‍👦 e\u{301}\u{202e}".to_owned(),
        "\"quotes\" \\ and \u{1}\r\n\u{2028}".to_owned(),
        "🦀".repeat(4000),
    ];
    for text in &texts {
        let payload = json!({"roomId": 1, "content": text, "x": {"roomId": 2}, "__proto__": 1});
        let sent = client.call("sendMessage", &payload).await;
        assert_eq!(sent["message"]["content"], **text);
        assert_eq!(client.event("newMessage").await, sent["message"]);
    }
}

crate::on_each_database!(
    a_message_has_the_shape_of_the_contract,
    a_thousand_sends_in_progress_keep_their_order,
    events_beyond_max_in_flight_are_refused_and_the_others_keep_their_order,
);

async fn a_message_has_the_shape_of_the_contract(database: &Database) {
    let gateway = Gateway::start(database);
    let mut client = ada(&gateway).await;
    assert_eq!(client.join(7).await, 0);
    assert_eq!(
        client.event("joinedRoom").await,
        json!({"roomId": 7, "seq": 0, "readSeq": 0, "unread": 0, "rev": 0})
    );
    let sent = client.send(7, "hello").await;
    let message = &sent["message"];
    assert_eq!(
        sent,
        json!({"ok": true, "message": {
            "id": message["id"], "roomId": 7, "seq": 1, "content": "hello",
            "createdAt": message["createdAt"], "userId": "1",
            "user": {"id": "1", "name": "Ada"}
        }})
    );
    assert!(message["id"].as_u64().unwrap() >= 1);
    let created_at = message["createdAt"].as_str().unwrap();
    assert_eq!(created_at.len(), "2026-01-31T12:00:00.000Z".len());
    assert!(created_at.starts_with("20") && created_at.ends_with('Z'));
    assert_eq!(&client.event("newMessage").await, message);
    let row = "SELECT room_id, seq, user_id, content, client_message_id FROM messages";
    assert_eq!(database.sql(row), "7|1|1|hello|");
    assert_eq!(database.sql("SELECT id, name FROM users"), "1|Ada");
    assert_eq!(database.sql("SELECT id, last_seq FROM rooms"), "7|1");
}

async fn a_thousand_sends_in_progress_keep_their_order(database: &Database) {
    const SENDS: usize = 1000;
    let limit = SENDS.to_string();
    let gateway = Gateway::start_with(database, &[("MAX_IN_FLIGHT", &limit)]);
    let mut client = ada(&gateway).await;
    let mut reader = Client::connect(gateway.address, &token("2", "Grace")).await;
    reader.join(1).await;
    let message = |n: usize| json!({"roomId": 1, "content": n.to_string()});
    let lock = database.lock_writes();
    // The client does not wait between joining and sending either.
    let joined = client.start("joinRoom", &json!({"roomId": 1})).await;
    let mut ids = Vec::new();
    for n in 0..SENDS - 1 {
        ids.push(client.start("sendMessage", &message(n)).await);
    }
    assert_eq!(client.ack(joined).await["ok"], true);
    ids.push(client.start("sendMessage", &message(SENDS - 1)).await);
    // All of them are in progress, because one event more is refused.
    let refused = client.call("leaveRoom", &json!({"roomId": 2})).await;
    assert_eq!(refused["error"]["code"], "rate_limited", "{refused}");
    lock.release();
    let refusals = metric(&gateway, r#"chat_refusals_total{limit="max_in_flight"}"#);
    assert_eq!(refusals.await, 1);
    for (n, id) in ids.into_iter().enumerate() {
        let sent = client.ack(id).await;
        assert_eq!(sent["message"]["seq"], n + 1, "{sent}");
    }
    for n in 0..SENDS {
        let message = reader.event("newMessage").await;
        assert_eq!(message["seq"], n + 1);
        assert_eq!(message["content"], n.to_string());
    }
}

async fn events_beyond_max_in_flight_are_refused_and_the_others_keep_their_order(
    database: &Database,
) {
    const MAX: usize = 256;
    let gateway = Gateway::start(database);
    let mut client = ada(&gateway).await;
    client.join(1).await;
    client.event("joinedRoom").await;
    // Nothing is done before all have arrived.
    let lock = database.lock_writes();
    let mut ids = Vec::new();
    for n in 0..MAX + 50 {
        let payload = json!({"roomId": 1, "content": n.to_string()});
        ids.push(client.start("sendMessage", &payload).await);
    }
    let beyond = ids.split_off(MAX);
    for id in beyond {
        let answer = client.ack(id).await;
        let error = json!({
            "code": "rate_limited", "message": answer["error"]["message"], "retryable": true
        });
        assert_eq!(answer["error"], error);
        assert_eq!(client.event("error").await["code"], "rate_limited");
    }
    lock.release();
    for (n, id) in ids.into_iter().enumerate() {
        let message = &client.ack(id).await["message"];
        assert_eq!(message["seq"], n + 1);
        assert_eq!(message["content"], n.to_string());
    }
    assert_eq!(
        client.send(1, "after").await["message"]["seq"],
        MAX + 1,
        "after the answers, events are accepted again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_each_answer_never_exceeds_max_in_flight() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "1")]);
    let mut client = ada(&gateway).await;
    for n in 0..1000 {
        let joined = client.call("joinRoom", &json!({"roomId": 1})).await;
        let left = client.call("leaveRoom", &json!({"roomId": 1})).await;
        let refused = client.send(1, "x").await;
        assert_eq!((&joined["ok"], &left["ok"]), (&json!(true), &json!(true)));
        assert_eq!(refused["error"]["code"], "not_in_room", "in round {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_right_after_connect_is_handled() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    for _ in 0..50 {
        let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
        // `connect` returns as soon as the CONNECT packet is answered.
        let answer = client.call("joinRoom", &json!({"roomId": 1})).await;
        assert_eq!(answer["ok"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_polling_delivers_everything_in_order() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let polling = Polling::connect(gateway.address, &token("1", "Ada")).await;
    let mut body = r#"420["joinRoom",{"roomId":1}]"#.to_owned();
    for n in 1..=200 {
        body += &format!("\u{1e}42{n}[\"sendMessage\",{{\"roomId\":1,\"content\":\"{n}\"}}]");
    }
    assert_eq!(polling.post(&body).await.0, 200);
    let mut acks = Vec::new();
    let mut messages = Vec::new();
    while acks.len() < 201 || messages.len() < 200 {
        let (status, body) = polling.get().await;
        assert_eq!(status, 200);
        for packet in body.split('\u{1e}') {
            if let Some(ack) = packet.strip_prefix("43") {
                let id = &ack[..ack.find('[').unwrap()];
                assert!(ack.contains(r#""ok":true"#), "{ack}");
                acks.push(id.parse::<u64>().unwrap());
            } else if let Some(event) = packet.strip_prefix(r#"42["newMessage","#) {
                let message: Value = serde_json::from_str(&event[..event.len() - 1]).unwrap();
                messages.push(message["seq"].as_u64().unwrap());
            } else if packet == "2" {
                assert_eq!(polling.post("3").await.0, 200);
            }
        }
    }
    assert_eq!(acks, (0..=200).collect::<Vec<_>>());
    assert_eq!(messages, (1..=200).collect::<Vec<_>>());
}
