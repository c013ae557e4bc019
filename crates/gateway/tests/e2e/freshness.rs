//! Promise 5's second: while the database answers, a member is up to date within a second,
//! whatever kept it from being so before.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::support::client::Client;
use crate::support::{Database, Gateway};

crate::on_each_database!(
    a_message_without_a_hint_arrives_within_a_second,
    a_message_that_could_not_be_read_arrives_within_a_second_of_the_end_of_the_outage,
);

const SECOND: Duration = Duration::from_secs(1);

/// Two members of room 1, to which one message was sent.
async fn two_members(gateway: &Gateway) -> [Client; 2] {
    let mut members = [gateway.connect("1").await, gateway.connect("2").await];
    for member in &mut members {
        member.join(1).await;
        member.event("joinedRoom").await;
    }
    assert_eq!(members[0].send(1, "first").await["ok"], true);
    for member in &mut members {
        assert_eq!(member.any_event().await.1["seq"], 1);
    }
    members
}

/// Requires that each member's next event is this message, within a second of `stored`.
async fn assert_in_time(members: &mut [Client; 2], seq: u64, stored: Instant) {
    for member in members {
        let event = timeout_at(stored + SECOND, member.any_event()).await;
        let (name, message) = event.expect("a message arrives within a second");
        assert_eq!(
            (name.as_str(), &message["seq"]),
            ("newMessage", &json!(seq))
        );
    }
}

/// Returns the SQL by which another process stores a message in room 1.
fn store(table: &str, seq: u64) -> String {
    format!(
        "INSERT INTO {table} (room_id, seq, user_id, content, created_at) \
         VALUES (1, {seq}, '1', 'x', '2026-01-31T12:00:00.000Z')"
    )
}

fn count(seq: u64) -> String {
    format!("UPDATE rooms SET last_seq = {seq} WHERE id = 1")
}

/// Rows of another process have no hints, as if all hints were lost.
async fn a_message_without_a_hint_arrives_within_a_second(database: &Database) {
    let gateway = Gateway::start(database);
    let mut members = two_members(&gateway).await;
    for seq in 2..=6 {
        database.sql(&store("messages", seq));
        database.sql(&count(seq));
        assert_in_time(&mut members, seq, Instant::now()).await;
    }
    // And each once: a hint follows in order.
    members[0].send(1, "x").await;
    assert_in_time(&mut members, 7, Instant::now()).await;
}

async fn a_message_that_could_not_be_read_arrives_within_a_second_of_the_end_of_the_outage(
    database: &Database,
) {
    let mut gateway = Gateway::start(database);
    let mut members = two_members(&gateway).await;
    for round in 1..=3 {
        database.sql("ALTER TABLE messages RENAME TO hidden");
        database.sql(&store("hidden", round + 1));
        database.sql(&count(round + 1));
        // The gateway has tried to read the message.
        gateway.wait_for_log(|log| {
            let outages = log.matches("storage outage began").count();
            (outages as u64 >= round).then_some(())
        });
        database.sql("ALTER TABLE hidden RENAME TO messages");
        assert_in_time(&mut members, round + 1, Instant::now()).await;
        gateway.wait_for_log(|log| {
            let outages = log.matches("storage outage ended").count();
            (outages as u64 >= round).then_some(())
        });
    }
}

/// SQLite has one writer at a time. Members are up to date within a second of the moment
/// when another one is done: with its own rows, and with the sends that waited for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_another_writer_of_sqlite_arrives_within_a_second() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "1")]);
    let mut members = two_members(&gateway).await;
    let path = database.path();
    for round in 0..5 {
        let (theirs, ours) = (2 + 2 * round, 3 + 2 * round);
        let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        let begin = format!(
            "BEGIN IMMEDIATE; {}; {}",
            store("messages", theirs),
            count(theirs)
        );
        other.batch_execute(&begin).unwrap();
        let send = json!({"roomId": 1, "content": "ours"});
        let sending = members[0].start("sendMessage", &send).await;
        // It is in progress if another one is not accepted beside it.
        let beside = members[0].send(1, "beside").await;
        assert_eq!(beside["error"]["code"], "rate_limited", "{beside}");
        members[0].event("error").await;
        let committed = Instant::now();
        other.batch_execute("COMMIT").unwrap();
        for member in &mut members {
            for seq in [theirs, ours] {
                let event = timeout_at(committed + SECOND, member.event("newMessage")).await;
                let message = event.expect("a message arrives within a second");
                assert_eq!(message["seq"], seq);
            }
        }
        assert_eq!(members[0].ack(sending).await["message"]["seq"], ours);
    }
}
