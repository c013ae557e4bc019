//! More than a client should send.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::raw::{Raw, frame, text};
use crate::size;
use crate::stage::{Stage, wait_for_connections};
use crate::support::client::Client;
use crate::support::{DEADLINE, token};

/// The beginning of the acknowledgement of the last event of a flood.
const LAST_ANSWER: &[u8] = b"43777777777[";

/// Connects and sends these frames, reading the answers, and then one event more. Returns the
/// number of bytes of answers up to its acknowledgement, or up to the end of the connection.
async fn flood(stage: &Stage, frames: &[u8], times: usize) -> u64 {
    let raw = Raw::connect(stage.gateway.address, "attacker").await;
    let (mut read, mut write) = raw.stream.into_split();
    let reader = tokio::spawn(async move {
        let mut received = Vec::new();
        let mut total = 0;
        while !received
            .windows(LAST_ANSWER.len())
            .any(|part| part == LAST_ANSWER)
        {
            // It may arrive in two parts.
            received.drain(..received.len().saturating_sub(LAST_ANSWER.len()));
            match read.read_buf(&mut received).await {
                Ok(count @ 1..) => total += count as u64,
                _ => break,
            }
        }
        total
    });
    let last = text(r#"42777777777["x",{}]"#);
    for frames in std::iter::repeat_n(frames, times).chain([&last[..]]) {
        let writing = timeout(DEADLINE, write.write_all(frames)).await;
        if writing.expect("the gateway reads").is_err() {
            break;
        }
    }
    let reading = timeout(DEADLINE, reader).await;
    reading.expect("the last event is answered").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fifty_thousand_events_on_one_socket() {
    let stage = Stage::start("50,000 events on one socket", &[]).await;
    let events = size(50_000, 5000);
    let mut client = Client::connect(stage.gateway.address, &token("attacker", "x")).await;
    client.join(2).await;
    drop(client);
    // Each of them is answered, whether it is carried out or refused.
    let message = json!({"roomId": 2, "content": "x"});
    let event = text(&format!("42{}", json!(["sendMessage", message])));
    let answers = flood(&stage, &event.repeat(1000), events / 1000).await;
    assert!(answers > 50 * events as u64, "{answers} bytes of answers");
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn unknown_events_on_one_socket() {
    let stage = Stage::start("50,000 unknown events on one socket", &[]).await;
    let events = size(50_000, 5000);
    let event = text(r#"420["x",{}]"#);
    let answers = flood(&stage, &event.repeat(1000), events / 1000).await;
    assert!(answers > 50 * events as u64, "{answers} bytes of answers");
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn unsolicited_acknowledgements() {
    let stage = Stage::start("unsolicited acknowledgements", &[]).await;
    let acks: Vec<u8> = (0..1000)
        .flat_map(|n| text(&format!("43{n}[\"x\"]")))
        .collect();
    flood(&stage, &acks, size(200, 20)).await;
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}

/// A packet in frames of one byte, control frames between frames, and empty frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tiny_fragments() {
    let stage = Stage::start("tiny fragments", &[]).await;
    let packet = format!("42{}", json!(["x", "y".repeat(1000)]));
    let (first, rest) = packet.as_bytes().split_first().unwrap();
    let mut frames = frame(0x01, &[*first]);
    for byte in rest {
        frames.extend(frame(0x00, &[]));
        frames.extend(frame(0x89, b"p"));
        frames.extend(frame(0x00, &[*byte]));
    }
    frames.extend(frame(0x80, &[]));
    flood(&stage, &frames, size(500, 20)).await;
    wait_for_connections(&stage.gateway, 2).await;
    // Empty frames never make a whole message.
    let mut endless = frame(0x01, b"4");
    endless.extend(frame(0x00, &[]).repeat(10_000));
    flood(&stage, &endless, size(50, 5)).await;
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn five_thousand_rooms_from_one_connection() {
    let stage = Stage::start("5,000 rooms from one connection", &[("MESSAGE_RATE", "0")]).await;
    let mut client = Client::connect(stage.gateway.address, &token("attacker", "x")).await;
    let rooms = size(5000, 1000) as u64;
    let mut refused = 0;
    for room in 2..2 + rooms {
        let joined = client.call("joinRoom", &json!({ "roomId": room })).await;
        if joined["ok"] == false {
            assert_eq!(joined["error"]["code"], "limit_exceeded", "{joined}");
            refused += 1;
        }
        client.take_events();
    }
    assert_eq!(refused, rooms - 200);
    assert_eq!(stage.refusals("max_rooms").await, refused);
    drop(client);
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}

/// The attacker joins and leaves the pair's own room.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn joins_and_leaves_as_fast_as_possible() {
    let stage = Stage::start("joins and leaves", &[("MESSAGE_RATE", "0")]).await;
    let join = text(&format!("42{}", json!(["joinRoom", {"roomId": 1}])));
    let leave = text(&format!("42{}", json!(["leaveRoom", {"roomId": 1}])));
    let both = [join, leave].concat();
    flood(&stage, &both.repeat(100), size(200, 10)).await;
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}
