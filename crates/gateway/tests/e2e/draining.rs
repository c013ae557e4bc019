//! SIGTERM and Ctrl-C: what the gateway finishes, what it refuses, and how long it takes.

use std::time::{Duration, Instant};

use chat_test_support::wait_until;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use serde_json::json;

use crate::support::client::{Client, Polling, get};
use crate::support::{DEADLINE, Database, Gateway, token};

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
    // After the first answer, the other sends have arrived or are about to.
    let first = client.ack(ids.remove(0)).await;
    assert_eq!(first["ok"], true);
    let signalled = Instant::now();
    gateway.signal("TERM");
    let mut stored = 1;
    for id in ids {
        let answer = client.ack(id).await;
        match answer["ok"] == true {
            true => stored += 1,
            // This send arrived after the signal.
            false => assert_eq!(answer["error"]["code"], "unavailable"),
        }
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
        database.sql("SELECT count(*) FROM messages"),
        stored.to_string()
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
    // The database's only writer waits for this lock.
    let path = database.path();
    let mut locker = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    locker.batch_execute("BEGIN IMMEDIATE").unwrap();
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
    drop(locker);
    let packets = stuck.read_to_end(DEADLINE).await;
    assert!(
        packets.iter().any(|p| p.starts_with(r#"42["newMessage""#)),
        "{packets:?}"
    );
    assert_eq!(gateway.wait().code(), Some(0));
}

/// A client whose send waits for the database because another session has locked a table.
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
            // The session is terminated before the sleep ends.
            chat_test_support::psql(&url, hold).ok();
        });
        let one = |sql: &str| {
            wait_until(DEADLINE, sql, || {
                Ok((database.sql(sql) == "1").then_some(()))
            })
            .unwrap();
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
    // While the gateway drains, it answers requests and new clients.
    assert_eq!(get(gateway.address, "/readyz").await.0, 503);
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
