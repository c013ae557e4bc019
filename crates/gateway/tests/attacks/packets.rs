//! Packets: too large, too deep, malformed, or with names that mean something elsewhere.

use serde_json::json;

use crate::raw::{Raw, frame, header, text};
use crate::size;
use crate::stage::Stage;
use crate::support::client::{Client, Polling};
use crate::support::{DEADLINE, token};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn packets_of_a_megabyte() {
    let stage = Stage::start("packets of 1 MB", &[]).await;
    let packet = text(&format!(
        "42{}",
        json!(["sendMessage", "x".repeat(1_000_000)])
    ));
    for n in 0..size(500, 20) {
        let user = format!("attacker-{n}");
        let mut raw = Raw::connect(stage.gateway.address, &user).await;
        raw.write(&packet).await;
        raw.assert_closed_within(DEADLINE).await;
    }
    let refused = stage.refusals("max_packet_bytes").await;
    assert_eq!(refused, size(500, 20) as u64);
    let polling = Polling::connect(stage.gateway.address, &token("poller", "x")).await;
    let (status, _) = polling.post(&"x".repeat(70_000)).await;
    assert_eq!(status, 413);
    stage.finish().await;
}

/// Only the header is sent. The gateway must neither wait for the rest nor make room for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn packets_that_announce_64_megabytes() {
    let stage = Stage::start("packets that announce 64 MB", &[]).await;
    for n in 0..size(500, 20) {
        let user = format!("attacker-{n}");
        let mut raw = Raw::connect(stage.gateway.address, &user).await;
        let sizes = [64 << 20, u64::MAX >> 1];
        raw.write(&header(0x81, sizes[n % 2])).await;
        raw.assert_closed_within(DEADLINE).await;
        // In fragments, each of which would fit.
        let mut raw = Raw::connect(stage.gateway.address, &user).await;
        let part = vec![b'x'; 60_000];
        raw.write(&frame(0x01, &part)).await;
        raw.write(&frame(0x00, &part)).await;
        raw.assert_closed_within(DEADLINE).await;
    }
    assert_eq!(
        stage.refusals("max_packet_bytes").await,
        2 * size(500, 20) as u64
    );
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn announced_attachments() {
    let stage = Stage::start("10^9 announced attachments", &[]).await;
    for n in 0..size(1000, 20) {
        let user = format!("attacker-{n}");
        let mut raw = Raw::connect(stage.gateway.address, &user).await;
        raw.write(&text(
            r#"451000000000-["sendMessage",{"_placeholder":true,"num":0}]"#,
        ))
        .await;
        raw.write(&frame(0x82, &[0; 60_000])).await;
        raw.assert_closed_within(DEADLINE).await;
    }
    stage.finish().await;
}

/// JSON that parsers of other gateways do not survive. Each is answered, and the connection
/// goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn json_that_breaks_parsers() {
    let settings = [("MAX_PACKET_BYTES", "1000000")];
    let stage = Stage::start("JSON 100,000 levels deep, 1e400, surrogates", &settings).await;
    let deep_array = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_object = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    let many_keys: Vec<_> = (0..20_000).map(|n| format!("\"key-{n}\":{n}")).collect();
    let many_keys = format!("{{{}}}", many_keys.join(","));
    let payloads = [
        deep_array.clone(),
        deep_object.clone(),
        format!(r#"{{"roomId":1,"content":{deep_array}}}"#),
        format!(r#"{{"roomId":{deep_object}}}"#),
        many_keys,
        r#"{"roomId":1e400,"content":"x"}"#.to_owned(),
        r#"{"roomId":-1e400,"content":"x"}"#.to_owned(),
        r#"{"roomId":1e-400,"content":"x"}"#.to_owned(),
        format!(r#"{{"roomId":{},"content":"x"}}"#, "9".repeat(10_000)),
        r#"{"roomId":1,"content":"\ud800"}"#.to_owned(),
        r#"{"roomId":1,"content":"\udfff\ud800"}"#.to_owned(),
        r#"{"roomId":1,"content":"\u0000"}"#.to_owned(),
        r#"{"roomId":1,"roomId":2,"content":"x"}"#.to_owned(),
        r#"{"__proto__":{"roomId":1},"content":"x"}"#.to_owned(),
    ];
    let mut client = Client::connect(stage.gateway.address, &token("attacker", "x")).await;
    client.join(2).await;
    for _ in 0..size(20, 2) {
        for payload in &payloads {
            let id = client
                .emit_raw(&format!(r#"["sendMessage",{payload}]"#))
                .await;
            let answer = client.ack(id).await;
            assert_eq!(answer["error"]["code"], "invalid_payload", "{answer}");
        }
        client.take_events();
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn events_with_reserved_names() {
    let stage = Stage::start("events named error, disconnect, __proto__, 1", &[]).await;
    let mut client = Client::connect(stage.gateway.address, &token("attacker", "x")).await;
    for _ in 0..size(1000, 50) {
        for name in [
            "error",
            "disconnect",
            "disconnecting",
            "connect",
            "connect_error",
            "newListener",
            "removeListener",
            "__proto__",
            "constructor",
            "newMessage",
            "joinedRoom",
            "",
        ] {
            let answer = client.call(name, &json!({"roomId": 1})).await;
            assert_eq!(answer["error"]["code"], "unknown_event", "{name}: {answer}");
        }
        client.take_events();
    }
    // A name that is not a text is not Socket.IO: the connection ends.
    for n in 0..size(200, 5) {
        for array in [
            "[1,{}]",
            "[null]",
            "[{}]",
            "[[\"joinRoom\"],{}]",
            "[true,1]",
        ] {
            let user = format!("attacker-{n}");
            let mut raw = Raw::connect(stage.gateway.address, &user).await;
            raw.write(&text(&format!("420{array}"))).await;
            raw.assert_closed_within(DEADLINE).await;
        }
    }
    stage.finish().await;
}
