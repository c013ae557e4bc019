//! The pace of `markedRead`: at most one per second per user and room, whichever of the
//! user's connections moves the pointer.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::Client;
use crate::support::{Database, Gateway};

crate::on_each_database!(
    the_marks_of_two_connections_are_announced_once_a_second_and_the_newest_wins,
    a_mark_is_never_announced_before_its_message,
);

async fn join(gateway: &Gateway, user: &str) -> Client {
    let mut client = gateway.connect(user).await;
    client.join(1).await;
    client.event("joinedRoom").await;
    client
}

fn mark(seq: u64) -> serde_json::Value {
    json!({"roomId": 1, "seq": seq})
}

async fn the_marks_of_two_connections_are_announced_once_a_second_and_the_newest_wins(
    database: &Database,
) {
    const MESSAGES: u64 = 90;
    const SECOND: Duration = Duration::from_secs(1);
    let gateway = Gateway::start(database);
    let mut writer = join(&gateway, "writer").await;
    for seq in 1..=MESSAGES {
        assert_eq!(writer.send(1, "x").await["message"]["seq"], seq);
    }
    let mut phone = join(&gateway, "reader").await;
    let mut laptop = join(&gateway, "reader").await;
    let mut observer = join(&gateway, "observer").await;

    // The gateway announces a mark between the moment before it is sent, and the arrival.
    let mut earliest = Vec::new();
    let mut announced = Vec::new();
    let mut next = 1;
    for burst in 1..=3 {
        let began = Instant::now();
        let until = burst * MESSAGES / 3;
        let mut sent = Vec::new();
        while next <= until {
            let device = if next % 2 == 0 {
                &mut phone
            } else {
                &mut laptop
            };
            sent.push((next, device.start("markRead", &mark(next)).await));
            next += 1;
        }
        for (seq, id) in sent {
            let device = if seq % 2 == 0 {
                &mut phone
            } else {
                &mut laptop
            };
            assert_eq!(device.ack(id).await["ok"], true);
        }
        while announced.last() != Some(&until) {
            let read = observer.event("markedRead").await;
            assert_eq!(
                (&read["roomId"], &read["userId"]),
                (&json!(1), &json!("reader"))
            );
            let seq = read["seq"].as_u64().unwrap();
            assert!(
                announced.last().is_none_or(|last| *last < seq),
                "{announced:?} {seq}"
            );
            announced.push(seq);
            for (before, sent) in earliest.iter().rev().zip(1_u32..) {
                let since: &Instant = before;
                assert!(since.elapsed() >= sent * SECOND, "{announced:?}");
            }
            // Whatever it was of this burst, it was not announced before the burst began.
            earliest.push(began);
        }
    }
    assert_eq!(announced.last(), Some(&MESSAGES));
    // The members see the same, each of the user's own connections included.
    for client in [&mut writer, &mut phone, &mut laptop] {
        for expected in &announced {
            assert_eq!(client.event("markedRead").await["seq"], *expected);
        }
    }
    assert_eq!(
        database.sql("SELECT seq FROM read_pointers WHERE user_id = 'reader'"),
        MESSAGES.to_string()
    );
}

/// A message of another process has no hint, so that its mark is ahead of its delivery.
async fn a_mark_is_never_announced_before_its_message(database: &Database) {
    const NEWEST: u64 = 9_007_199_254_740_991;
    let gateway = Gateway::start(database);
    let mut observer = join(&gateway, "observer").await;
    assert_eq!(observer.send(1, "x").await["message"]["seq"], 1);
    observer.event("newMessage").await;
    for seq in 2..=6 {
        let reader = format!("reader {seq}");
        let mut phone = join(&gateway, &reader).await;
        let mut laptop = join(&gateway, &reader).await;
        database.sql(&format!(
            "INSERT INTO messages (room_id, seq, user_id, content, created_at) \
             VALUES (1, {seq}, 'observer', 'x', '2026-01-31T12:00:00.000Z')"
        ));
        database.sql(&format!("UPDATE rooms SET last_seq = {seq}"));
        for device in [&mut phone, &mut laptop] {
            let marked = device.call("markRead", &mark(NEWEST)).await;
            assert_eq!(marked["seq"], seq, "{marked}");
        }
        for member in [&mut observer, &mut phone, &mut laptop] {
            let (name, message) = member.any_event().await;
            assert_eq!(
                (name.as_str(), &message["seq"]),
                ("newMessage", &json!(seq))
            );
            let (name, read) = member.any_event().await;
            assert_eq!(name, "markedRead");
            assert_eq!(read, json!({"roomId": 1, "userId": reader, "seq": seq}));
        }
    }
}
