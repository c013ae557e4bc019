//! What members on one node receive of what happens on another.

use std::time::Duration;

use chat_test_support::{Redis, RedisOptions, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::group::{Group, until_metric};
use crate::support::client::{Client, get};
use crate::support::{DEADLINE, metric};

const MESSAGES: u64 = 60;
/// The content of the last message.
const LAST: &str = "the last one";
/// A user's marks are handed out once per second.
const READ_MARK_DEADLINE: Duration = Duration::from_secs(2);

/// Reads this many messages of a room and requires them to be 1, 2, 3 ….
async fn read_in_order(member: &mut Client, messages: u64) -> Vec<Value> {
    let mut read = Vec::new();
    for seq in 1..=messages {
        let message = member.event("newMessage").await;
        assert_eq!(message["seq"], seq, "{message}");
        read.push(message);
    }
    read
}

/// Lets one client per node send messages to room 1 at the same time, and a member on each
/// node read them.
async fn exchange(group: &Group) -> Vec<Vec<Value>> {
    let total = MESSAGES * group.nodes.len() as u64;
    let mut readers = JoinSet::new();
    for (place, node) in group.nodes.iter().enumerate() {
        let mut member = node.connect("reader").await;
        member.join(1).await;
        readers.spawn(async move { (place, read_in_order(&mut member, total).await) });
    }
    let mut senders = JoinSet::new();
    for (place, node) in group.nodes.iter().enumerate() {
        let mut sender = node.connect(&format!("sender {place}")).await;
        sender.join(1).await;
        senders.spawn(async move {
            for n in 0..MESSAGES {
                let answer = sender.send(1, &format!("{n} \u{1f980}")).await;
                assert_eq!(answer["ok"], true, "{answer}");
            }
        });
    }
    senders.join_all().await;
    let mut read = readers.join_all().await;
    read.sort_by_key(|(place, _)| *place);
    read.into_iter().map(|(_, messages)| messages).collect()
}

async fn members_of_all_nodes_receive_every_message_in_one_order(size: usize) {
    let group = Group::start(size).await;
    let read = exchange(&group).await;
    for messages in &read {
        assert_eq!(*messages, read[0], "the nodes differ");
    }
    let others = MESSAGES * (size as u64 - 1);
    for node in &group.nodes {
        // The sender's own messages also move its read pointer, without a hint.
        until_metric(node, "chat_hints_received_total", |n| n == others).await;
        until_metric(node, "chat_hints_published_total", |n| n == MESSAGES).await;
        assert_eq!(metric(node, "chat_hints_invalid_total").await, 0);
        assert_eq!(metric(node, "chat_redis_connections_total").await, 1);
        for reason in ["disconnected", "queue_full", "unconfirmed"] {
            let name = format!("chat_hints_lost_total{{reason=\"{reason}\"}}");
            assert_eq!(metric(node, &name).await, 0, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_give_members_one_order() {
    members_of_all_nodes_receive_every_message_in_one_order(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_give_members_one_order() {
    members_of_all_nodes_receive_every_message_in_one_order(3).await;
}

/// A live message has its author's name from the token, one from the log the stored name.
#[tokio::test(flavor = "multi_thread")]
async fn hints_and_not_the_log_carry_messages_to_other_nodes() {
    let group = Group::start(2).await;
    let mut sender = group.nodes[0].connect("42").await;
    let mut member = group.nodes[1].connect("7").await;
    sender.join(1).await;
    member.join(1).await;
    sender.send(1, "stores the name").await;
    member.event("newMessage").await;
    group.database.sql("UPDATE users SET name = 'from the log'");
    for _ in 0..MESSAGES {
        sender.send(1, "hello").await;
    }
    let mut by_hint = 0;
    for _ in 0..MESSAGES {
        let message = member.event("newMessage").await;
        match message["user"]["name"].as_str().unwrap() {
            "x" => by_hint += 1,
            name => assert_eq!(name, "from the log"),
        }
    }
    // The comparison with the log may be faster now and then.
    assert!(by_hint > MESSAGES / 2, "{by_hint} of {MESSAGES}");
}

/// Requires that a read mark arrives, which nothing but a hint carries. The first may be too
/// early for the other node's subscription.
async fn a_read_mark_crosses(group: &Group, from: usize, to: usize) {
    let mut author = group.nodes[from].connect("author").await;
    let mut reader = group.nodes[from].connect("reader").await;
    let mut member = group.nodes[to].connect("member").await;
    for client in [&mut author, &mut reader, &mut member] {
        client.join(9).await;
    }
    for _ in 0..10 {
        let sent = author.send(9, "to be read").await;
        let mark = json!({"roomId": 9, "seq": sent["message"]["seq"]});
        let answer = reader.call("markRead", &mark).await;
        assert_eq!(answer["ok"], true, "{answer}");
        let marked = timeout(READ_MARK_DEADLINE, member.event("markedRead")).await;
        if let Ok(marked) = marked {
            assert_eq!(marked["userId"], "reader");
            return;
        }
    }
    panic!("no read mark arrives");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_marks_cross_nodes() {
    let group = Group::start(2).await;
    a_read_mark_crosses(&group, 0, 1).await;
    a_read_mark_crosses(&group, 1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_under_load_loses_nothing_and_hints_flow_again_when_it_is_back() {
    let mut redis = Redis::start(RedisOptions::default()).unwrap();
    let group = Group::start_on(&redis.url(), 2);
    group.until_connected(1).await;
    let mut sender = group.nodes[0].connect("42").await;
    let mut member = group.nodes[1].connect("7").await;
    sender.join(1).await;
    member.join(1).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while stopped.try_recv().is_err() {
            let answer = sender.send(1, "x").await;
            assert_eq!(answer["ok"], true, "{answer}");
            sent += 1;
        }
        sender.send(1, LAST).await;
        sent + 1
    });
    let reading = tokio::spawn(async move {
        for seq in 1.. {
            let message = member.event("newMessage").await;
            assert_eq!(message["seq"], seq, "{message}");
            if message["content"] == LAST {
                return seq;
            }
        }
        unreachable!("the last message has a position")
    });
    let stored = "SELECT coalesce(max(seq), 0) FROM messages";
    let stored = || -> u64 { group.database.sql(stored).parse().unwrap() };
    for round in 1..=2 {
        redis.kill().unwrap();
        group.until_connected(0).await;
        for node in &group.nodes {
            let (status, body) = get(node.address, "/readyz").await;
            assert_eq!(status, 200);
            assert!(
                body.contains("\r\n\r\nready\nRedis is not connected"),
                "{body}"
            );
        }
        let before = stored();
        wait_until(DEADLINE, "more is stored", || {
            Ok((stored() > before).then_some(()))
        })
        .unwrap();
        redis.start_again().unwrap();
        for node in &group.nodes {
            let log = node.wait_for_log(|log| {
                let is_back = log.matches("Redis is back").count() == round;
                is_back.then(|| log.to_owned())
            });
            assert_eq!(log.matches("Redis is lost").count(), round, "{log}");
        }
    }
    a_read_mark_crosses(&group, 0, 1).await;
    stop.send(()).unwrap();
    let sent: u64 = sending.await.unwrap();
    assert_eq!(timeout(DEADLINE, reading).await.unwrap().unwrap(), sent);
    for node in &group.nodes {
        let (status, body) = get(node.address, "/readyz").await;
        let is_ready = body.ends_with("\r\n\r\nready\n");
        assert!(status == 200 && is_ready, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_serve_without_redis_and_use_it_once_it_is_there() {
    let mut redis = Redis::start(RedisOptions::default()).unwrap();
    redis.kill().unwrap();
    let group = Group::start_on(&redis.url(), 2);
    let mut sender = group.nodes[0].connect("42").await;
    let mut member = group.nodes[1].connect("7").await;
    sender.join(1).await;
    member.join(1).await;
    let answer = sender.send(1, "found in the log").await;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(member.event("newMessage").await["seq"], 1);
    assert_eq!(
        metric(&group.nodes[1], "chat_redis_connections_total").await,
        0
    );
    let differences = "chat_reconciliation_differences_total";
    assert!(metric(&group.nodes[1], differences).await > 0);
    redis.start_again().unwrap();
    group.until_connected(1).await;
    a_read_mark_crosses(&group, 0, 1).await;
}
