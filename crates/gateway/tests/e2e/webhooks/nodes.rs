//! Several nodes that share the webhooks.

use std::time::Duration;

use super::webhooks;
use crate::api::KEYS;
use crate::nodes::group::{Group, until_metric};
use crate::support::metric;
use crate::support::receiver::{Behaviour, Receiver, WEBHOOK_SECRET};

const ROOMS: u64 = 20;
const MESSAGES: u64 = 10;

async fn group(receiver: &Receiver) -> Group {
    let url = receiver.url();
    let settings = [
        ("WEBHOOK_URL", url.as_str()),
        ("WEBHOOK_SECRET", WEBHOOK_SECRET),
        KEYS,
    ];
    Group::start_with(2, &settings).await
}

/// Sends messages to all rooms, through both nodes.
async fn send_everywhere(group: &Group) {
    for (at, node) in group.nodes.iter().enumerate() {
        let mut client = node.connect(&format!("user-{at}")).await;
        for room in 1..=ROOMS {
            client.join(room).await;
            for _ in 0..MESSAGES / 2 {
                client.send(room, "hello").await;
            }
        }
    }
}

fn assert_in_order(receiver: &Receiver, messages: u64) {
    let taken = receiver.taken();
    let all: Vec<u64> = (1..=messages).collect();
    for room in 1..=ROOMS {
        let of_room = taken.iter().filter(|call| call.room() == room);
        let positions: Vec<u64> = of_room
            .map(|call| call.body["data"]["message"]["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(positions, all, "room {room}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_the_webhooks_without_duplicates() {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::After(Duration::from_millis(10)));
    let group = group(&receiver).await;
    send_everywhere(&group).await;
    let all = (ROOMS * MESSAGES) as usize;
    receiver.until_taken(all).await;
    assert_eq!(receiver.calls().len(), all);
    assert_in_order(&receiver, MESSAGES);
    let name = "chat_webhook_deliveries_total{outcome=\"delivered\"}";
    let mut delivered = Vec::new();
    for node in &group.nodes {
        delivered.push(metric(node, name).await);
    }
    assert!(delivered.iter().all(|count| *count > 0), "{delivered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhooks_of_a_killed_node_are_taken_over() {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::After(Duration::from_millis(50)));
    let mut group = group(&receiver).await;
    send_everywhere(&group).await;
    let started = |receiver: &Receiver| receiver.taken().len() > 20;
    receiver.until(Duration::from_secs(20), started).await;
    group.nodes[0].signal("KILL");
    group.nodes[0].wait();
    receiver.until_taken((ROOMS * MESSAGES) as usize).await;
    assert_in_order(&receiver, MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_node_that_continues_disturbs_nothing() {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::After(Duration::from_millis(50)));
    let group = group(&receiver).await;
    send_everywhere(&group).await;
    let started = |receiver: &Receiver| receiver.taken().len() > 20;
    receiver.until(Duration::from_secs(20), started).await;
    let delivered = "chat_webhook_deliveries_total{outcome=\"delivered\"}";
    until_metric(&group.nodes[0], delivered, |count| count > 0).await;
    group.nodes[0].signal("STOP");
    // The other node takes its rooms over when their leases have expired.
    let all = (ROOMS * MESSAGES) as usize;
    receiver.until_taken(all).await;
    // It must not remove what is recorded meanwhile, which is pending when it continues.
    receiver.behave(|_| Behaviour::Status(500));
    let mut client = group.nodes[1].connect("late").await;
    for room in 1..=ROOMS {
        client.join(room).await;
        client.send(room, "late").await;
    }
    group.nodes[0].signal("CONT");
    for node in &group.nodes {
        until_metric(node, "chat_webhook_backlog", |waiting| waiting == ROOMS).await;
    }
    receiver.behave(|_| Behaviour::Status(200));
    webhooks(&group.database, "retry");
    receiver.until_taken(all + ROOMS as usize).await;
    assert_in_order(&receiver, MESSAGES + 1);
}
