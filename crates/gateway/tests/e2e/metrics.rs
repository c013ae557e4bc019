//! `/metrics`: what it says is what the clients have seen.

mod quantiles;

use std::process::Command;
use std::time::Duration;

use chat_test_support::run;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::on_each_database;
use crate::support::client::{Client, Polling};
use crate::support::metrics::Scrape;
use crate::support::{DEADLINE, Database, Gateway, now, sign, token};

const SENDERS: u64 = 4;
const MESSAGES: u64 = 50;

on_each_database!(a_scrape_under_load_says_what_the_clients_counted);

/// Waits until a scrape is as expected.
async fn until(gateway: &Gateway, expected: &str, is_met: impl Fn(&Scrape) -> bool) -> Scrape {
    let polling = async {
        loop {
            let scrape = Scrape::of(gateway.address).await;
            if is_met(&scrape) {
                return scrape;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let found = timeout(DEADLINE, polling).await;
    found.unwrap_or_else(|_| panic!("{expected}: {}", gateway.log()))
}

/// Requires that `promtool check metrics` finds nothing.
fn check_with_promtool(scrape: &Scrape) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metrics");
    std::fs::write(&file, &scrape.text).unwrap();
    let mut promtool = Command::new(promtool());
    promtool
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file).unwrap());
    let output = run(&mut promtool, DEADLINE).unwrap();
    let found = [output.stdout, output.stderr].concat();
    let found = String::from_utf8_lossy(&found);
    assert!(output.status.success() && found.is_empty(), "{found}");
}

pub(crate) fn promtool() -> std::ffi::OsString {
    std::env::var_os("TEST_PROMTOOL")
        .unwrap_or_else(|| panic!("TEST_PROMTOOL is not set: run `cargo xtask test`"))
}

/// Sends messages to a room and returns how many `newMessage` the sender received.
async fn converse(mut client: Client, sender: u64) -> u64 {
    for n in 0..MESSAGES {
        let answer = client.send(1, &format!("{sender} {n}")).await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
    let mut received = 0;
    while received < SENDERS * MESSAGES {
        client.event("newMessage").await;
        received += 1;
    }
    received
}

async fn a_scrape_under_load_says_what_the_clients_counted(database: &Database) {
    let gateway = Gateway::start(database);
    let mut clients = Vec::new();
    for sender in 0..SENDERS {
        let mut client = gateway.connect(&format!("sender-{sender}")).await;
        client.join(1).await;
        clients.push(client);
    }
    let poller = Polling::connect(gateway.address, &token("poller", "x")).await;
    let mut conversations = JoinSet::new();
    for (client, sender) in clients.into_iter().zip(0..) {
        conversations.spawn(converse(client, sender));
    }
    // While it goes on.
    let under_load = until(&gateway, "a message is stored", |scrape| {
        scrape.sum("chat_messages_stored_total") > 0.0
    });
    let under_load = under_load.await;
    check_with_promtool(&under_load);
    assert_eq!(
        under_load.value(r#"chat_connections{transport="websocket"}"#),
        SENDERS as f64
    );
    assert_eq!(
        under_load.value(r#"chat_connections{transport="polling"}"#),
        1.0
    );
    assert_eq!(under_load.sum("chat_active_rooms"), 1.0);

    let received: u64 = conversations.join_all().await.into_iter().sum();
    drop(poller);
    let scrape = Scrape::of(gateway.address).await;
    check_with_promtool(&scrape);
    let sent = (SENDERS * MESSAGES) as f64;
    for (name, expected) in [
        (
            r#"chat_events_total{event="sendMessage",outcome="ok"}"#,
            sent,
        ),
        (
            r#"chat_events_total{event="joinRoom",outcome="ok"}"#,
            SENDERS as f64,
        ),
        (r#"chat_deliveries_total{kind="live"}"#, received as f64),
        (r#"chat_deliveries_total{kind="catch_up"}"#, 0.0),
        (
            r#"chat_handshakes_total{outcome="accepted"}"#,
            SENDERS as f64 + 1.0,
        ),
        ("chat_messages_stored_total", sent),
        ("chat_batch_messages_sum", sent),
        ("chat_arrival_to_commit_seconds_count", sent),
        ("chat_database_writable", 1.0),
    ] {
        assert_eq!(scrape.value(name), expected, "{name}");
    }
    // A message that was found in the log before its hint came is not timed.
    let timed = scrape.value("chat_commit_to_handoff_seconds_count");
    assert!(timed > 0.0 && timed <= sent, "{timed}");
    let counted = scrape.sum("chat_events_total");
    assert_eq!(counted, sent + SENDERS as f64, "nothing else was asked for");
    let pool = scrape.sum("chat_database_pool_max_connections");
    assert!(pool >= 1.0 && scrape.sum("chat_database_pool_connections") <= pool);
    let version = format!(
        r#"chat_build_info{{version="{}"}}"#,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(scrape.value(&version), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_events_and_clients_are_counted_by_their_code() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "1")]);
    let mut client = gateway.connect("1").await;
    client.send(1, "not in the room").await;
    client.join(1).await;
    client.send(1, "").await;
    client.call("dance", &json!({})).await;
    let without_payload = client.emit_raw(r#"["markRead"]"#).await;
    client.ack(without_payload).await;
    let sent =
        |content: &str| json!({ "roomId": 1, "content": content, "clientMessageId": "the-same" });
    client.call("sendMessage", &sent("one")).await;
    client.call("sendMessage", &sent("one")).await;
    client.call("sendMessage", &sent("two")).await;
    // One frame after the other, so that the second arrives while the first is in progress.
    let mut answers = Vec::new();
    for n in 0..20 {
        let content = json!({ "roomId": 1, "content": n.to_string() });
        answers.push(client.start("sendMessage", &content).await);
    }
    let mut rate_limited = 0.0;
    for answer in answers {
        let answer = client.ack(answer).await;
        if answer["error"]["code"] == "rate_limited" {
            rate_limited += 1.0;
        }
    }
    for refused in [
        "not-a-token".to_owned(),
        sign(&json!({ "sub": "1", "exp": 1 })),
    ] {
        let mut refused_client = Client::open(gateway.address).await;
        let packet = format!("40{}", json!({ "token": refused }));
        refused_client.send_packet(&packet).await;
        refused_client.packet().await.unwrap();
    }
    let mut tokenless = Client::open(gateway.address).await;
    tokenless.send_packet("40{}").await;
    tokenless.packet().await.unwrap();

    let scrape = Scrape::of(gateway.address).await;
    for (name, expected) in [
        (
            r#"chat_events_total{event="sendMessage",outcome="not_in_room"}"#,
            1.0,
        ),
        (
            r#"chat_events_total{event="sendMessage",outcome="invalid_payload"}"#,
            1.0,
        ),
        (
            r#"chat_events_total{event="sendMessage",outcome="conflict"}"#,
            1.0,
        ),
        (
            r#"chat_events_total{event="sendMessage",outcome="rate_limited"}"#,
            rate_limited,
        ),
        (
            r#"chat_events_total{event="sendMessage",outcome="ok"}"#,
            22.0 - rate_limited,
        ),
        (
            r#"chat_events_total{event="unknown",outcome="unknown_event"}"#,
            1.0,
        ),
        (
            r#"chat_events_total{event="markRead",outcome="invalid_payload"}"#,
            1.0,
        ),
        (
            r#"chat_refusals_total{limit="max_in_flight"}"#,
            rate_limited,
        ),
        // A repeat is answered, and stored once.
        ("chat_messages_stored_total", 21.0 - rate_limited),
        ("chat_arrival_to_commit_seconds_count", 21.0 - rate_limited),
        (r#"chat_handshakes_total{outcome="accepted"}"#, 1.0),
        (r#"chat_handshakes_total{outcome="token_invalid"}"#, 1.0),
        (r#"chat_handshakes_total{outcome="token_expired"}"#, 1.0),
        (r#"chat_handshakes_total{outcome="token_missing"}"#, 1.0),
    ] {
        assert_eq!(scrape.value(name), expected, "{name}");
    }
}

/// A member that reads nothing for a while falls behind, and has caught up when it has read
/// everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_member_and_what_waits_for_it_are_gauged() {
    const LARGE: u64 = 150;
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut reader = gateway.connect("reader").await;
    reader.join(1).await;
    let mut writer = gateway.connect("writer").await;
    writer.join(1).await;
    for n in 0..LARGE {
        let content = format!("{n} {}", "🦀".repeat(3000));
        assert_eq!(writer.send(1, &content).await["ok"], true);
    }
    let behind = until(&gateway, "the reader has fallen behind", |scrape| {
        scrape.value("chat_lagging_members") == 1.0
    });
    assert!(behind.await.value("chat_queued_bytes") > 0.0);
    for seq in 1..=LARGE {
        assert_eq!(reader.event("newMessage").await["seq"], seq);
    }
    let after = until(&gateway, "the reader has caught up", |scrape| {
        scrape.value("chat_lagging_members") == 0.0 && scrape.value("chat_queued_bytes") == 0.0
    });
    let after = after.await;
    assert!(after.value(r#"chat_deliveries_total{kind="catch_up"}"#) > 0.0);
    assert_eq!(after.sum("chat_deliveries_total"), 2.0 * LARGE as f64);

    let mut late = gateway.connect("late").await;
    let payload = json!({ "roomId": 1, "afterSeq": LARGE - 7 });
    assert_eq!(late.call("joinRoom", &payload).await["ok"], true);
    let replayed = Scrape::of(gateway.address).await;
    assert_eq!(
        replayed.value(r#"chat_deliveries_total{kind="replay"}"#),
        7.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_gateway_ends_are_counted_by_reason() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("JWT_LEEWAY", "0")]);
    let expiring = sign(&json!({ "sub": "1", "exp": now() + 2 }));
    let mut client = Client::connect(gateway.address, &expiring).await;
    while client.packet().await.is_ok() {}
    let scrape = Scrape::of(gateway.address).await;
    let count = |scrape: &Scrape, reason: &str| {
        scrape.value(&format!(
            r#"chat_forced_disconnects_total{{reason="{reason}"}}"#
        ))
    };
    assert_eq!(count(&scrape, "token_expired"), 1.0);
    assert_eq!(scrape.sum("chat_forced_disconnects_total"), 1.0);
    // One that leaves by itself is not.
    drop(gateway.connect("2").await);
    let left = until(&gateway, "it has left", |scrape| {
        scrape.sum("chat_connections") == 0.0
    });
    assert_eq!(left.await.sum("chat_forced_disconnects_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_the_database_is_gauged() {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;

    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    let path = database.path();
    let mut locker = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    locker.batch_execute("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(
        client.send(1, "refused").await["error"]["code"],
        "unavailable"
    );
    let locked = Scrape::of(gateway.address).await;
    assert_eq!(locked.value("chat_database_writable"), 0.0);
    let failures = r#"chat_storage_failures_total{kind="write_unavailable"}"#;
    assert!(locked.value(failures) > 0.0);
    drop(locker);
    until(&gateway, "the database is writable", |scrape| {
        scrape.value("chat_database_writable") == 1.0
    })
    .await;
}
