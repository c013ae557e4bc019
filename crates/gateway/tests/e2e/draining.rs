//! SIGTERM and Ctrl-C: what is finished, what is refused, and how long it takes.

use std::time::{Duration, Instant};

use chat_test_support::wait_until;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use serde_json::json;

use crate::support::client::{Client, Polling, http};
use crate::support::{Database, Gateway, SOON, token};

crate::on_each_database!(sigterm_finishes_and_acknowledges_pending_sends);

async fn sigterm_finishes_and_acknowledges_pending_sends(database: &Database) {
    let mut gateway = Gateway::start_with(database, &[("MAX_IN_FLIGHT", "0")]);
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    let polling = Polling::connect(gateway.address, &token("2", "Grace")).await;
    client.join(1).await;
    let mut ids = Vec::new();
    for n in 0..200 {
        ids.push(
            client
                .start(
                    "sendMessage",
                    &json!({"roomId": 1, "content": n.to_string()}),
                )
                .await,
        );
    }
    // The first answer shows that the others have arrived or are about to.
    let first = client.ack(ids.remove(0)).await;
    assert_eq!(first["ok"], true);
    let signalled = Instant::now();
    gateway.signal("TERM");
    let mut stored = 1;
    for id in ids {
        let answer = client.ack(id).await;
        match answer["ok"] == true {
            true => stored += 1,
            // It arrived after the signal.
            false => assert_eq!(answer["error"]["code"], "unavailable"),
        }
    }
    let rest = client.read_to_end(Duration::from_secs(5)).await;
    assert!(
        !rest.iter().any(|packet| packet.starts_with("41")),
        "no disconnect: {rest:?}"
    );
    // The long-polling session ends too: 400, or a refused connection. A heartbeat that
    // was waiting for the client may still be fetched at the same moment.
    let ended = tokio::spawn(async move { while polling.get().await.0 == 200 {} });
    let ended = tokio::time::timeout(SOON, ended).await;
    assert!(ended.is_ok(), "the long-polling session has not ended");
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(10));
    assert_eq!(
        database.sql("SELECT count(*) FROM messages"),
        stored.to_string()
    );
}

/// A client without work is closed at once, however stuck another one is.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_does_not_wait_for_a_stuck_one() {
    let database = Database::sqlite();
    let mut gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "1")]);
    let mut stuck = Client::connect(gateway.address, &token("1", "Ada")).await;
    stuck.join(1).await;
    assert_eq!(stuck.send(1, "x").await["ok"], true);
    let mut idle = Client::connect(gateway.address, &token("2", "Grace")).await;
    idle.join(1).await;
    // The only writer of the database waits for this lock.
    let path = database.path();
    let mut locker = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    locker.batch_execute("BEGIN IMMEDIATE").unwrap();
    stuck
        .emit("sendMessage", &json!({"roomId": 1, "content": "y"}))
        .await;
    // The message is in progress once another event is refused.
    let refused = stuck.call("joinRoom", &json!({"roomId": 2})).await;
    assert_eq!(refused["error"]["code"], "rate_limited");
    let asked = Instant::now();
    gateway.signal("TERM");
    gateway.wait_for_log(|log| log.contains("draining").then_some(()));
    idle.read_to_end(SOON).await;
    let idle_after = asked.elapsed();
    assert!(idle_after < Duration::from_secs(2), "{idle_after:?}");
    drop(locker);
    let packets = stuck.read_to_end(SOON).await;
    assert!(
        packets.iter().any(|p| p.starts_with(r#"42["newMessage""#)),
        "{packets:?}"
    );
    assert_eq!(gateway.wait().code(), Some(0));
}

/// A client whose send waits for the database, because another session locks a table.
struct PendingSend<'a> {
    database: &'a Database,
    _client: Client,
    holder: Option<std::thread::JoinHandle<()>>,
}

impl<'a> PendingSend<'a> {
    async fn start(database: &'a Database, gateway: &Gateway) -> Self {
        let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
        client.join(1).await;
        client.send(1, "x").await;
        let url = database.url();
        let hold = "BEGIN; LOCK TABLE rooms; SELECT pg_sleep(20); COMMIT";
        let holder = std::thread::spawn(move || {
            // The session is terminated before the pause ends.
            chat_test_support::psql(&url, hold).ok();
        });
        let one = |sql: &str| {
            wait_until(SOON, sql, || Ok((database.sql(sql) == "1").then_some(()))).unwrap();
        };
        one(
            "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock' \
             AND relation = 'rooms'::regclass",
        );
        client
            .emit("sendMessage", &json!({"roomId": 1, "content": "x"}))
            .await;
        one("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rooms'::regclass");
        Self {
            database,
            _client: client,
            holder: Some(holder),
        }
    }
}

impl Drop for PendingSend<'_> {
    fn drop(&mut self) {
        self.database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        self.holder.take().map(std::thread::JoinHandle::join);
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
    // Until then, requests and new clients get an answer.
    let ready = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(http(gateway.address, ready).await.0, 503);
    let mut late = Client::open(gateway.address).await;
    let token = token("2", "Grace");
    late.say(&format!("40{}", json!({ "token": token }))).await;
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
