//! Handshakes: abandoned, repeated, oversized, and all at once.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _, stream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::raw::{Raw, text};
use crate::size;
use crate::stage::{Stage, wait_for_connections};
use crate::support::client::{Client, Polling, get};
use crate::support::{DEADLINE, metric, token};

/// How many connections an attacker opens at the same time.
const AT_ONCE: usize = 64;

/// Opens this many WebSockets and keeps those that the gateway accepts. Returns them, and how
/// many it refused with 503.
async fn open_many(stage: &Stage, count: usize) -> (Vec<Raw>, usize) {
    let address = stage.gateway.address;
    let opening = stream::iter(0..count).map(|_| Raw::open(address));
    let outcomes: Vec<_> = opening.buffer_unordered(AT_ONCE).collect().await;
    let mut opened = Vec::new();
    let mut refused = 0;
    for outcome in outcomes {
        match outcome {
            Ok(raw) => opened.push(raw),
            Err(503) => refused += 1,
            Err(status) => panic!("status {status}"),
        }
    }
    (opened, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn handshakes_that_never_connect() {
    let stage = Stage::start("handshakes without CONNECT", &[("MAX_CONNECTIONS", "2000")]).await;
    let count = size(10_000, 1500);
    let (opened, refused) = open_many(&stage, count).await;
    // They end in time, and none of them beyond the quarter is accepted.
    assert!(opened.len() >= 500, "{} are accepted", opened.len());
    assert!(refused > 0, "none is refused");
    assert_eq!(stage.refusals("unconnected_sessions").await, refused as u64);
    for raw in opened {
        raw.assert_closed_within(Duration::from_secs(12)).await;
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn handshakes_that_are_abandoned_at_once() {
    let stage = Stage::start(
        "handshakes abandoned at once",
        &[("MAX_CONNECTIONS", "2000")],
    )
    .await;
    for _ in 0..size(10_000, 1000) / 500 {
        let (opened, _) = open_many(&stage, 500).await;
        drop(opened);
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_that_reconnect_at_once() {
    let count = size(5000, 300);
    let stage = Stage::start("clients that reconnect at once", &[]).await;
    let address = stage.gateway.address;
    // The standard client tries again after it was refused.
    let connect = async |n: usize| loop {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let Ok(mut client) = Client::open_with(&url, &[]).await else {
            continue;
        };
        let auth = json!({ "token": token(&format!("user-{n}"), "x") });
        client.send_packet(&format!("40{auth}")).await;
        match client.packet().await {
            Ok(answer) if answer.starts_with("40{") => return client,
            answer => panic!("{answer:?}"),
        }
    };
    for _ in 0..2 {
        let connecting = stream::iter(0..count).map(connect);
        let connecting = connecting.buffer_unordered(count);
        let mut clients: Vec<Client> = connecting.collect().await;
        wait_for_connections(&stage.gateway, count as u64 + 2).await;
        clients[0].join(2).await;
    }
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tokens_of_a_megabyte() {
    let stage = Stage::start("tokens of 1 MB", &[]).await;
    let address = stage.gateway.address;
    let long = "x".repeat(1_000_000);
    for _ in 0..size(200, 20) {
        // In CONNECT, it is a packet that is too large.
        let mut raw = Raw::open(address).await.unwrap();
        raw.write(&text(&format!("40{}", json!({ "token": long }))))
            .await;
        raw.assert_closed_within(DEADLINE).await;
        // In the query and in the header, a request that is too large.
        let query = format!("GET /socket.io/?EIO=4&transport=polling&token={long} HTTP/1.1\r\n");
        let header = format!(
            "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nAuthorization: Bearer {long}\r\n"
        );
        for request in [query, header] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The gateway may close the connection before it has read all of it.
            stream.write_all(request.as_bytes()).await.ok();
            stream.write_all(b"Host: x\r\n\r\n").await.ok();
            let mut answer = Vec::new();
            let reading = stream.read_to_end(&mut answer);
            timeout(DEADLINE, reading).await.expect("an end").ok();
            assert!(!answer.starts_with(b"HTTP/1.1 2"), "it is refused");
        }
    }
    // A token that just fits is refused for what it is.
    let mut client = Client::open(address).await;
    let fits = json!({ "token": "x".repeat(60_000) });
    client.send_packet(&format!("40{fits}")).await;
    assert_eq!(
        client.packet().await.unwrap(),
        r#"44{"message":"token_invalid"}"#
    );
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn repeated_connects() {
    let stage = Stage::start("repeated CONNECT", &[]).await;
    let mut client = Client::connect(stage.gateway.address, &token("attacker", "x")).await;
    // The token is verified once.
    for n in 0..size(10_000, 1000) {
        let auth = json!({ "token": token(&format!("other-{n}"), "x") });
        client.send_packet(&format!("40{auth}")).await;
    }
    client.join(2).await;
    let sent = client.send(2, "x").await;
    assert_eq!(sent["message"]["userId"], "attacker", "{sent}");
    assert_eq!(metric(&stage.gateway, "chat_connections").await, 3);
    drop(client);
    stage.finish().await;
}

/// Connects to namespaces that do not exist. Each must be refused.
async fn refuse_namespaces(mut client: Client, count: usize) {
    for n in 0..count {
        // What is sent to the previous one goes nowhere.
        let event = format!(
            r#"42/namespace-{},["joinRoom",{{"roomId":1}}]"#,
            n.max(1) - 1
        );
        let connect = format!("40/namespace-{n},");
        for packet in [event, connect] {
            client.socket.feed(Message::text(packet)).await.unwrap();
        }
        client.socket.flush().await.unwrap();
        let refused = client.packet().await.unwrap();
        let expected = format!(r#"44/namespace-{n},{{"message":"Invalid namespace"}}"#);
        assert_eq!(refused, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ten_thousand_namespaces() {
    let stage = Stage::start("10,000 namespaces", &[]).await;
    let address = stage.gateway.address;
    let unconnected = Client::open(address).await;
    refuse_namespaces(unconnected, size(2000, 200)).await;
    let connected = Client::connect(address, &token("attacker", "x")).await;
    refuse_namespaces(connected, size(10_000, 1000)).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hoarded_long_polling_sessions() {
    let quarter = size(500, 50);
    let max = (4 * quarter).to_string();
    let stage = Stage::start("hoarded polling sessions", &[("MAX_CONNECTIONS", &max)]).await;
    let address = stage.gateway.address;
    for n in 0..quarter {
        Polling::connect(address, &token(&format!("hoarder-{n}"), "x")).await;
    }
    let poll = "/socket.io/?EIO=4&transport=polling";
    for _ in 0..size(5000, 200) {
        assert_eq!(get(address, poll).await.0, 503);
    }
    // WebSockets still have their places.
    Client::connect(address, &token("newcomer", "x"))
        .await
        .join(2)
        .await;
    // The sessions end, because no heartbeat is answered.
    wait_for_connections(&stage.gateway, 2).await;
    stage.finish().await;
}
