//! SIGTERM and Ctrl-C: what the gateway finishes, what it refuses, and how long it takes.

use std::time::{Duration, Instant};

use chat_test_support::Transaction;
use serde_json::json;

use crate::support::client::{Client, Polling, get};
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
    // A new client has no other node to try, so it is told why it is refused.
    let mut late = Client::open(gateway.address).await;
    let token = token("2", "Grace");
    late.send_packet(&format!("40{}", json!({ "token": token })))
        .await;
    assert_eq!(
        late.packet().await,
        Ok(r#"44{"message":"unavailable"}"#.to_owned())
    );
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(
        signalled.elapsed() < Duration::from_secs(10),
        "{:?}",
        signalled.elapsed()
    );
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
