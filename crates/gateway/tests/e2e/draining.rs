//! SIGTERM and Ctrl-C: what the gateway finishes, what it refuses, and how long it takes.

use std::time::{Duration, Instant};

use chat_test_support::Transaction;
use serde_json::json;
use tokio::time::timeout;

use crate::support::client::{Client, Ended, Polling, get, http};
use crate::support::{DEADLINE, Database, Gateway, token};

crate::on_each_database!(sends_that_wait_for_the_database_at_sigterm_are_stored_and_acknowledged);

async fn sends_that_wait_for_the_database_at_sigterm_are_stored_and_acknowledged(
    database: &Database,
) {
    const SENDS: u64 = 200;
    let mut gateway = Gateway::start_with(database, &[("MAX_IN_FLIGHT", "200")]);
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    let polling = Polling::connect(gateway.address, &token("2", "Grace")).await;
    client.join(1).await;
    assert_eq!(client.send(1, "before").await["message"]["seq"], 1);

    let lock = database.lock_writes();
    let mut ids = Vec::new();
    for n in 0..SENDS {
        let message = json!({"roomId": 1, "content": n.to_string()});
        ids.push(client.start("sendMessage", &message).await);
    }
    // All of them are in progress, because one event more is refused.
    let refused = client.call("joinRoom", &json!({"roomId": 2})).await;
    assert_eq!(refused["error"]["code"], "rate_limited", "{refused}");
    lock.wait_for_waiting_write();
    let signalled = Instant::now();
    gateway.signal("TERM");
    gateway.wait_for_log(|log| log.contains("draining").then_some(()));
    lock.release();

    for (id, seq) in ids.into_iter().zip(2..) {
        let answer = client.ack(id).await;
        assert_eq!(answer["message"]["seq"], seq, "{answer}");
    }
    let rest = client.read_to_end(Duration::from_secs(5)).await;
    assert!(
        !rest.iter().any(|packet| packet.starts_with("41")),
        "no disconnect: {rest:?}"
    );
    // A heartbeat that was waiting for the polling client may still be fetched first.
    tokio::time::timeout(DEADLINE, polling.poll_to_end())
        .await
        .expect("the long-polling session ends");
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(10));
    assert_eq!(
        database.sql("SELECT count(*), max(seq) FROM messages"),
        format!("{0}|{0}", SENDS + 1)
    );
}

/// A client without events in progress is disconnected immediately, however stuck another
/// client is.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_does_not_wait_for_a_stuck_one() {
    let database = Database::sqlite();
    let mut gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "1")]);
    let mut stuck = Client::connect(gateway.address, &token("1", "Ada")).await;
    stuck.join(1).await;
    assert_eq!(stuck.send(1, "x").await["ok"], true);
    let mut idle = Client::connect(gateway.address, &token("2", "Grace")).await;
    idle.join(1).await;
    let lock = database.lock_writes();
    stuck
        .emit("sendMessage", &json!({"roomId": 1, "content": "y"}))
        .await;
    // The message is in progress once another event is refused.
    let refused = stuck.call("joinRoom", &json!({"roomId": 2})).await;
    assert_eq!(refused["error"]["code"], "rate_limited");
    let signalled = Instant::now();
    gateway.signal("TERM");
    gateway.wait_for_log(|log| log.contains("draining").then_some(()));
    idle.read_to_end(DEADLINE).await;
    let idle_after = signalled.elapsed();
    assert!(idle_after < Duration::from_secs(2), "{idle_after:?}");
    lock.release();
    let packets = stuck.read_to_end(DEADLINE).await;
    assert!(
        packets.iter().any(|p| p.starts_with(r#"42["newMessage""#)),
        "{packets:?}"
    );
    assert_eq!(gateway.wait().code(), Some(0));
}

/// A client whose send waits for a table that another session has locked.
struct PendingSend {
    _client: Client,
    _lock: Transaction,
}

impl PendingSend {
    async fn start(database: &Database, gateway: &Gateway) -> Self {
        let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
        client.join(1).await;
        client.send(1, "x").await;
        let lock = database.begin("LOCK TABLE rooms");
        client
            .emit("sendMessage", &json!({"roomId": 1, "content": "x"}))
            .await;
        database.wait_for_lock_wait();
        Self {
            _client: client,
            _lock: lock,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_exits_within_ten_seconds_while_the_database_hangs() {
    let database = Database::postgres();
    let mut gateway = Gateway::start(&database);
    let _pending = PendingSend::start(&database, &gateway).await;
    let mut early = Client::open(gateway.address).await;
    let early_polling = Polling::open(gateway.address).await;
    let signalled = Instant::now();
    gateway.signal("TERM");
    gateway.wait_for_log(|log| log.contains("draining").then_some(()));
    // While the gateway drains, it answers requests.
    let (status, response) = get(gateway.address, "/readyz").await;
    assert!(
        status == 503 && response.ends_with("draining\n"),
        "{response}"
    );
    assert_eq!(get(gateway.address, "/healthz").await.0, 200);
    for transport in ["polling", "websocket"] {
        assert_no_session_begins(&gateway, transport).await;
    }
    // A client that had not connected yet is to reconnect, which an answer would prevent.
    let connect = format!("40{}", json!({ "token": token("2", "Grace") }));
    early.send_packet(&connect).await;
    assert_eq!(early.packet().await, Err(Ended::Closed));
    let (status, packets) = early_polling.post(&connect).await;
    assert!(status == 400 || packets == "ok", "{packets}");
    timeout(DEADLINE, early_polling.poll_to_end())
        .await
        .expect("the long-polling session ends");
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(
        signalled.elapsed() < Duration::from_secs(10),
        "{:?}",
        signalled.elapsed()
    );
}

/// A proxy that receives this answer tries another node, and the standard client retries.
async fn assert_no_session_begins(gateway: &Gateway, transport: &str) {
    let request = format!(
        "GET /socket.io/?EIO=4&transport={transport} HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let (status, response) = http(gateway.address, &request).await;
    assert_eq!(status, 503, "{response}");
    let response = response.to_ascii_lowercase();
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    assert!(response.contains("\r\nretry-after: 1\r\n"), "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_terminates_the_process_immediately() {
    let database = Database::postgres();
    let mut gateway = Gateway::start(&database);
    let _pending = PendingSend::start(&database, &gateway).await;
    gateway.signal("TERM");
    gateway.wait_for_log(|log| log.contains("draining").then_some(()));
    let signalled = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(1));
    assert!(signalled.elapsed() < Duration::from_secs(2));
}
