//! Receivers that fail, and what becomes of the webhooks.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::nodes::group::until_metric;
use crate::support::client::Client;
use crate::support::receiver::{Behaviour, Receiver};
use crate::support::{DEADLINE, Database, Gateway, token};

use super::{start, webhooks};

crate::on_each_database!(
    every_fault_is_survived_and_other_rooms_never_wait,
    a_receiver_that_is_gone_pauses_webhooks_until_a_retry,
    a_restart_ends_a_pause,
    a_webhook_that_fails_for_three_days_is_parked_and_can_be_resent,
    a_killed_receiver_receives_everything_when_it_is_back,
    a_killed_gateway_loses_nothing,
    a_stopped_gateway_repeats_nothing,
);

const ROOMS: [(u64, Behaviour); 7] = [
    (1, Behaviour::Status(500)),
    (2, Behaviour::Redirect),
    (3, Behaviour::CloseMidResponse),
    (4, Behaviour::Close),
    (5, Behaviour::Hang),
    (6, Behaviour::Status(404)),
    (7, Behaviour::After(Duration::from_secs(2))),
];
const HEALTHY: u64 = 8;

async fn send(client: &mut Client, room: u64, count: usize) {
    for number in 0..count {
        client.send(room, &format!("{number}")).await;
    }
}

/// Returns the positions of the messages of this room, in the order in which they were taken.
fn positions(receiver: &Receiver, room: u64) -> Vec<u64> {
    let taken = receiver.taken();
    let calls = taken.iter().filter(|call| call.room() == room);
    calls
        .map(|call| call.body["data"]["message"]["seq"].as_u64().unwrap())
        .collect()
}

async fn every_fault_is_survived_and_other_rooms_never_wait(database: &Database) {
    let receiver = Receiver::start().await;
    receiver.behave(|call| {
        let fault = ROOMS.iter().find(|(room, _)| *room == call.room());
        match fault {
            // The first attempt of each room's first message.
            Some((_, fault)) if call.body["data"]["message"]["seq"] == 1 && call.attempt == 1 => {
                *fault
            }
            _ => Behaviour::Status(200),
        }
    });
    let gateway = start(database, &receiver, &[]);
    let mut ada = gateway.connect("ada").await;
    for (room, _) in ROOMS {
        ada.join(room).await;
        send(&mut ada, room, 3).await;
    }
    ada.join(HEALTHY).await;
    send(&mut ada, HEALTHY, 20).await;
    receiver
        .until(Duration::from_secs(20), |receiver| {
            positions(receiver, HEALTHY).len() == 20
        })
        .await;
    // The call that hangs has not ended yet.
    assert!(positions(&receiver, 5).is_empty());
    receiver.until_taken(20 + 3 * ROOMS.len()).await;
    for (room, fault) in ROOMS {
        assert_eq!(positions(&receiver, room), [1, 2, 3], "{fault:?}");
        let calls = receiver.calls();
        let of_first = calls
            .iter()
            .filter(|call| call.room() == room && call.body["data"]["message"]["seq"] == 1);
        let ids: HashSet<&str> = of_first.clone().map(|call| &*call.id).collect();
        assert_eq!(ids.len(), 1, "{fault:?}");
        let attempts = if room == 7 { 1 } else { 2 };
        assert_eq!(of_first.count(), attempts, "{fault:?}");
    }
    let calls = receiver.calls();
    assert!(calls.iter().all(|call| call.path == "/hook"));
    until_metric(&gateway, "chat_webhook_backlog", |waiting| waiting == 0).await;
}

async fn a_receiver_that_is_gone_pauses_webhooks_until_a_retry(database: &Database) {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::Status(410));
    let gateway = start(database, &receiver, &[]);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    send(&mut ada, 1, 2).await;
    gateway.wait_for_log(|log| log.contains("WEBHOOKS ARE PAUSED").then_some(()));
    until_metric(&gateway, "chat_webhooks_paused", |paused| paused == 1).await;
    let calls = receiver.calls().len();
    receiver.behave(|_| Behaviour::Status(200));
    ada.join(2).await;
    send(&mut ada, 2, 1).await;
    until_metric(&gateway, "chat_webhook_backlog", |waiting| waiting == 3).await;
    assert_eq!(receiver.calls().len(), calls);
    assert!(webhooks(database, "list").contains("3 waiting"));
    webhooks(database, "retry");
    receiver.until_taken(3).await;
    assert_eq!(positions(&receiver, 1), [1, 2]);
}

async fn a_restart_ends_a_pause(database: &Database) {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::Status(410));
    let mut gateway = start(database, &receiver, &[]);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    send(&mut ada, 1, 1).await;
    gateway.wait_for_log(|log| log.contains("WEBHOOKS ARE PAUSED").then_some(()));
    gateway.signal("TERM");
    gateway.wait();
    receiver.behave(|_| Behaviour::Status(200));
    let _gateway = start(database, &receiver, &[]);
    receiver.until_taken(1).await;
}

async fn a_webhook_that_fails_for_three_days_is_parked_and_can_be_resent(database: &Database) {
    let receiver = Receiver::start().await;
    receiver.behave(|call| match call.body["data"]["message"]["seq"].as_u64() {
        Some(1) => Behaviour::Status(500),
        _ => Behaviour::Status(200),
    });
    let gateway = start(database, &receiver, &[]);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    send(&mut ada, 1, 3).await;
    // Four days pass.
    gateway.wait_for_log(|log| log.contains("was not delivered").then_some(()));
    let failing = "SELECT count(*) FROM outbox_rooms WHERE attempts > 0";
    let began = Instant::now();
    while database.sql(failing).trim() != "1" {
        assert!(began.elapsed() < DEADLINE, "{}", gateway.log());
    }
    database.sql(
        "UPDATE outbox_rooms SET failing_since = '2000-01-01T00:00:00.000Z' WHERE attempts > 0",
    );
    gateway.wait_for_log(|log| log.contains("a webhook is parked").then_some(()));
    receiver.until_taken(2).await;
    assert_eq!(positions(&receiver, 1), [2, 3]);
    until_metric(&gateway, "chat_webhooks_parked", |parked| parked == 1).await;
    let list = webhooks(database, "list");
    assert!(
        list.contains("message.created\t1\t1\tthe response has status 500"),
        "{list}"
    );
    receiver.behave(|_| Behaviour::Status(200));
    let retried = webhooks(database, "retry");
    assert!(retried.starts_with("1 parked"), "{retried}");
    receiver.until_taken(3).await;
    assert_eq!(positions(&receiver, 1), [2, 3, 1]);
}

async fn a_killed_receiver_receives_everything_when_it_is_back(database: &Database) {
    let mut receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::After(Duration::from_millis(5)));
    let gateway = start(database, &receiver, &[]);
    let mut ada = gateway.connect("ada").await;
    for room in 1..=3 {
        ada.join(room).await;
        send(&mut ada, room, 10).await;
    }
    receiver.kill().await;
    for room in 1..=3 {
        send(&mut ada, room, 10).await;
    }
    receiver.start_again().await;
    receiver.until_taken(60).await;
    let all: Vec<u64> = (1..=20).collect();
    for room in 1..=3 {
        assert_eq!(positions(&receiver, room), all);
    }
}

async fn a_killed_gateway_loses_nothing(database: &Database) {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::After(Duration::from_millis(20)));
    let mut gateway = start(database, &receiver, &[]);
    let mut acknowledged = 0;
    for _ in 0..2 {
        acknowledged += send_until_some_are_taken(&gateway, &receiver).await;
        gateway.signal("KILL");
        gateway.wait();
        gateway = start(database, &receiver, &[]);
    }
    receiver.until_taken(acknowledged).await;
    let all: Vec<u64> = (1..=acknowledged as u64).collect();
    assert_eq!(positions(&receiver, 1), all);
}

async fn a_stopped_gateway_repeats_nothing(database: &Database) {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::After(Duration::from_millis(50)));
    let mut gateway = start(database, &receiver, &[]);
    let sent = send_until_some_are_taken(&gateway, &receiver).await;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let calls = receiver.calls().len();
    assert!(calls < sent, "{calls} calls");
    let began = Instant::now();
    let _gateway = start(database, &receiver, &[]);
    receiver.until_taken(sent).await;
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(receiver.calls().len(), sent);
}

/// Sends messages to room 1 until the receiver has taken more. Returns how many.
async fn send_until_some_are_taken(gateway: &Gateway, receiver: &Receiver) -> usize {
    let mut client = Client::connect(gateway.address, &token("ada", "Ada")).await;
    client.join(1).await;
    let before = receiver.taken().len();
    send(&mut client, 1, 30).await;
    let within = Duration::from_secs(60);
    receiver
        .until(within, |receiver| receiver.taken().len() > before + 5)
        .await;
    30
}
