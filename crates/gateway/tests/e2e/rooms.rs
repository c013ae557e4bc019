//! Rooms: which connections receive a message, and in which order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::support::client::{Client, Event, Polling};
use crate::support::{Database, Gateway, token};

crate::on_each_database!(
    fifty_concurrent_senders_produce_one_order,
    a_join_during_writes_has_no_gap_and_no_duplicate,
    a_member_that_leaves_during_writes_receives_everything_until_left_room_and_nothing_after,
);

/// All members send at the same time. All receive one order, which preserves the order of
/// each sender.
async fn fifty_concurrent_senders_produce_one_order(database: &Database) {
    const SENDERS: u64 = 50;
    const EACH: u64 = 10;
    let gateway = Gateway::start(database);
    let mut clients = Vec::new();
    for user in 0..SENDERS {
        let token = token(&user.to_string(), "x");
        let mut client = Client::connect(gateway.address, &token).await;
        client.join(1).await;
        clients.push(client);
    }
    let members: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(user, mut client)| {
            tokio::spawn(async move {
                for n in 0..EACH {
                    let payload = json!({"roomId": 1, "content": format!("{user} {n}")});
                    client.emit("sendMessage", &payload).await;
                }
                let mut seen = Vec::new();
                for seq in 1..=SENDERS * EACH {
                    let message = client.event("newMessage").await;
                    assert_eq!(message["seq"], seq);
                    seen.push(message["content"].as_str().unwrap().to_owned());
                }
                seen
            })
        })
        .collect();
    let mut views = Vec::new();
    for member in members {
        views.push(member.await.unwrap());
    }
    assert!(views.iter().all(|view| *view == views[0]));
    let mut next: HashMap<&str, u64> = HashMap::new();
    for content in &views[0] {
        let (user, n) = content.split_once(' ').unwrap();
        let expected = next.entry(user).or_default();
        assert_eq!(n.parse(), Ok(*expected), "{content}");
        *expected += 1;
    }
    assert_eq!(
        database.sql("SELECT count(*), min(seq), max(seq), count(DISTINCT seq) FROM messages"),
        "500|1|500|500"
    );
}

/// A client joins and leaves repeatedly while another one writes.
async fn a_join_during_writes_has_no_gap_and_no_duplicate(database: &Database) {
    let gateway = Gateway::start(database);
    let mut writer = Client::connect(gateway.address, &token("1", "Ada")).await;
    writer.join(1).await;
    let writing = tokio::spawn(async move {
        for n in 0..300 {
            let sent = writer.send(1, &n.to_string()).await;
            assert_eq!(sent["ok"], true);
        }
    });
    let mut visitor = Client::connect(gateway.address, &token("2", "Grace")).await;
    let mut visits = 0;
    while !writing.is_finished() || visits < 5 {
        visits += 1;
        visitor.call("joinRoom", &json!({"roomId": 1})).await;
        let resume_point = visitor.event("joinedRoom").await["seq"].as_u64().unwrap();
        let mut next = resume_point + 1;
        if !writing.is_finished() {
            while next <= (resume_point + 5).min(300) {
                assert_eq!(visitor.event("newMessage").await["seq"], next);
                next += 1;
            }
        }
        visitor.call("leaveRoom", &json!({"roomId": 1})).await;
        // More messages may arrive before the leave, but nothing after it.
        let mut rest = visitor.take_events();
        let (last, _) = rest.pop().unwrap();
        assert_eq!(last, "leftRoom");
        for (name, message) in rest {
            assert_eq!(
                (name.as_str(), &message["seq"]),
                ("newMessage", &json!(next))
            );
            next += 1;
        }
    }
    writing.await.unwrap();
}

/// A member on each transport leaves in the middle of a stream of messages.
async fn a_member_that_leaves_during_writes_receives_everything_until_left_room_and_nothing_after(
    database: &Database,
) {
    const BEFORE: usize = 20;
    const AFTER: usize = 20;
    let gateway = Gateway::start(database);
    let mut writer = gateway.connect("1").await;
    let mut leaver = gateway.connect("2").await;
    let polling = Polling::connect(gateway.address, &token("3", "x")).await;
    for room in [1, 2] {
        writer.join(room).await;
        leaver.join(room).await;
        let join = format!(r#"42["joinRoom",{{"roomId":{room}}}]"#);
        assert_eq!(polling.post(&join).await.0, 200);
        polling.packets().await;
    }
    leaver.take_events();
    let stored = Arc::new(AtomicU64::new(0));
    let have_left = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (stored, have_left) = (stored.clone(), have_left.clone());
        async move {
            let mut after = 0;
            while after < AFTER {
                let sent = writer.send(1, "stream").await;
                stored.store(sent["message"]["seq"].as_u64().unwrap(), Ordering::SeqCst);
                after += usize::from(have_left.load(Ordering::SeqCst));
            }
            // A later message in the other room shows that nothing else is on its way.
            writer.send(2, "barrier").await;
        }
    });

    let mut received = Vec::new();
    let mut polled = Vec::new();
    while received.len() < BEFORE {
        received.push(leaver.any_event().await);
    }
    while polled.len() < BEFORE {
        polled.extend(polling.events().await);
    }
    let stored_before = stored.load(Ordering::SeqCst);
    let leaving = leaver.start("leaveRoom", &json!({"roomId": 1})).await;
    let leave = r#"42["leaveRoom",{"roomId":1}]"#;
    assert_eq!(polling.post(leave).await.0, 200);
    assert_eq!(leaver.ack(leaving).await["ok"], true);
    let has_left = |events: &[Event]| events.iter().any(|(name, _)| name == "leftRoom");
    while !has_left(&polled) {
        polled.extend(polling.events().await);
    }
    have_left.store(true, Ordering::SeqCst);
    let is_over = |events: &[Event]| events.iter().any(|(_, event)| event["roomId"] == 2);
    while !is_over(&received) {
        received.push(leaver.any_event().await);
    }
    while !is_over(&polled) {
        polled.extend(polling.events().await);
    }
    writing.await.unwrap();

    for events in [received, polled] {
        let left = events.iter().position(|(name, _)| name == "leftRoom");
        let (before, after) = events.split_at(left.unwrap());
        let seqs: Vec<_> = before.iter().map(|(_, m)| m["seq"].as_u64()).collect();
        let expected: Vec<_> = (1..=seqs.len() as u64).map(Some).collect();
        assert_eq!(seqs, expected);
        assert!(
            seqs.len() as u64 >= stored_before,
            "{} of the {stored_before} messages that were stored before the leave",
            seqs.len()
        );
        let after: Vec<_> = after.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            after,
            ["leftRoom", "newMessage"],
            "only the barrier follows"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_a_connection_that_has_not_joined_or_has_left() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut ada = Client::connect(gateway.address, &token("1", "Ada")).await;
    let mut grace = Client::connect(gateway.address, &token("2", "Grace")).await;
    // Each connection of a user is a separate member.
    let mut other = Client::connect(gateway.address, &token("1", "Ada")).await;
    ada.join(1).await;
    grace.join(1).await;
    grace.join(2).await;
    other.join(2).await;

    let left = grace.call("leaveRoom", &json!({"roomId": 1})).await;
    assert_eq!(left, json!({"ok": true, "roomId": 1}));
    assert_eq!(grace.event("leftRoom").await, json!({"roomId": 1}));
    ada.send(1, "only Ada receives this").await;
    // The later message in room 2 proves that nothing else was on its way.
    other.send(2, "barrier").await;
    let (name, message) = grace.any_event().await;
    assert_eq!(
        (name.as_str(), &message["content"]),
        ("newMessage", &json!("barrier"))
    );

    let refused = grace.send(1, "may I?").await;
    assert_eq!(refused["error"]["code"], "not_in_room");
    let again = grace.call("leaveRoom", &json!({"roomId": 1})).await;
    assert_eq!(again["ok"], true, "leaving succeeds without having joined");
    assert_eq!(
        database.sql("SELECT count(*) FROM messages WHERE user_id = '2'"),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_again_leaves_and_rejoins() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut ada = Client::connect(gateway.address, &token("1", "Ada")).await;
    assert_eq!(ada.join(1).await, 0);
    ada.send(1, "one").await;
    assert_eq!(ada.join(1).await, 1);
    ada.send(1, "two").await;
    ada.event("joinedRoom").await;
    let seqs: Vec<_> = [ada.event("newMessage").await, ada.event("newMessage").await]
        .iter()
        .map(|message| message["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, [1, 2], "each message arrives once");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_valid_room_number_can_be_joined_and_joining_stores_nothing() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut ada = Client::connect(gateway.address, &token("1", "Ada")).await;
    for room in [1, 2_147_483_648, 9_007_199_254_740_991] {
        assert_eq!(ada.join(room).await, 0);
        assert_eq!(ada.send(room, "first").await["message"]["seq"], 1);
    }
    assert_eq!(database.sql("SELECT count(*) FROM rooms"), "3");
    ada.join(77).await;
    assert_eq!(
        database.sql("SELECT count(*) FROM rooms"),
        "3",
        "joining stores nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn numbering_continues_after_a_kill_and_a_restart() {
    let database = Database::sqlite();
    for round in 0..3 {
        let mut gateway = Gateway::start(&database);
        let mut ada = Client::connect(gateway.address, &token("1", "Ada")).await;
        assert_eq!(ada.join(1).await, round * 10);
        for n in 1..=10 {
            let sent = ada.send(1, "x").await;
            assert_eq!(sent["message"]["seq"], round * 10 + n);
        }
        gateway.signal("KILL");
        gateway.wait();
    }
}
