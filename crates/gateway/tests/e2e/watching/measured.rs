//! What watching costs. `docs/performance.md` has the figures and how to measure them again.

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::watch;
use crate::support::bystander::{Bystander, print};
use crate::support::{Database, Gateway};

/// How long a measurement may take.
const MEASURED_WITHIN: Duration = Duration::from_secs(300);
/// How many clients connect at the same time.
const CONNECTING: usize = 50;

/// Gives users their rooms: `members` is a query of rooms and users.
fn store(database: &Database, members: &str) {
    let at = "'2026-01-31T12:00:00.000Z'";
    for sql in [
        format!(
            "INSERT INTO members (room_id, user_id, role, joined_at) \
             SELECT room, 'u' || number, 'member', {at} FROM ({members}) AS asked"
        ),
        format!(
            "INSERT INTO room_settings (room_id, kind, frozen, slow_mode_seconds, metadata, \
             created_at, member_count, owner_count) \
             SELECT DISTINCT room, 'private', false, 0, '{{}}', {at}, 1, 0 FROM ({members}) AS asked \
             WHERE true ON CONFLICT (room_id) DO NOTHING"
        ),
        format!(
            "INSERT INTO rooms (id, last_seq, rules) \
             SELECT DISTINCT room, 0, 1 FROM ({members}) AS asked \
             WHERE true ON CONFLICT (id) DO NOTHING"
        ),
    ] {
        let sql = match database {
            Database::Sqlite(_) => sql,
            Database::Postgres(_) => sql.replace(at, &format!("{at}::timestamptz")),
        };
        database.sql(&sql);
    }
}

/// Counts from 0 to below `size`.
fn numbers(size: u64) -> String {
    format!(
        "(WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {size} - 1) \
         SELECT n FROM n)"
    )
}

/// How long it takes until 10,000 watching members of a room are told of a message, and how long
/// a message of another room takes meanwhile.
async fn tell_ten_thousand(database: &Database) {
    const MEMBERS: u64 = 10_000;
    const MESSAGES: u64 = 5;
    let gateway = Gateway::start_with(database, &[("MAX_CONNECTIONS", "12000")]);
    store(
        database,
        &format!(
            "SELECT 1 AS room, n AS number FROM {} AS users",
            numbers(MEMBERS)
        ),
    );
    let (arrivals, mut arrived) = mpsc::unbounded_channel();
    let mut connecting = JoinSet::new();
    for number in 0..MEMBERS {
        if connecting.len() == CONNECTING {
            connecting.join_next().await.unwrap().unwrap();
        }
        let (address, arrivals) = (gateway.address, arrivals.clone());
        connecting.spawn(async move {
            let token = crate::support::token(&format!("u{number}"), "x");
            let mut client = crate::support::client::Client::connect(address, &token).await;
            watch(&mut client).await;
            tokio::spawn(async move {
                while let Ok(packet) = client.packet_within(MEASURED_WITHIN).await {
                    if let Some((name, summary)) = crate::support::client::event_of(&packet) {
                        assert_eq!(name, "roomUpdated", "{summary}");
                        let seq = summary["seq"].as_u64().unwrap();
                        arrivals.send((seq, Instant::now())).ok();
                    }
                }
            });
        });
    }
    connecting.join_all().await;
    let mut bystander = Bystander::join(&gateway, 2).await;
    let mut writer = gateway.connect("u1").await;
    writer.join(1).await;
    let pause = Duration::from_secs(4);
    print("another room, before", bystander.undisturbed(pause).await);
    let undisturbed =
        tokio::spawn(async move { bystander.undisturbed(pause * MESSAGES as u32).await });
    let mut told = Vec::new();
    for seq in 1..=MESSAGES {
        let sent = Instant::now();
        let message = json!({"roomId": 1, "content": "hello"});
        assert_eq!(writer.call("sendMessage", &message).await["ok"], true);
        let mut missing = MEMBERS;
        while missing > 0 {
            let arrival = timeout(MEASURED_WITHIN, arrived.recv()).await;
            let (arrived_seq, at) = arrival.unwrap().unwrap();
            // What changed while they connected may be told late.
            if arrived_seq == seq {
                told.push(at - sent);
                missing -= 1;
            }
        }
        sleep(pause.saturating_sub(sent.elapsed())).await;
    }
    print("10,000 watchers of a message", told);
    print("another room, meanwhile", undisturbed.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures latencies for a minute; see docs/performance.md"]
async fn ten_thousand_watchers_are_told_on_sqlite() {
    tell_ten_thousand(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures latencies for a minute; see docs/performance.md"]
async fn ten_thousand_watchers_are_told_on_postgres() {
    tell_ten_thousand(&Database::postgres()).await;
}
