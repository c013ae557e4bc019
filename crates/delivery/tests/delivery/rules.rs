//! Changes of a room's rules: what the listener is told, and what members receive.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chat_delivery::Recipient as _;
use chat_domain::ports::RoomDelivery as _;
use tokio::time::sleep;

use crate::MANY;
use crate::client::Client;
use crate::world::{World, room};

const SECOND: Duration = Duration::from_secs(1);

/// What the listener is told of a number that concerns any user, or one.
fn told(number: u64, user: Option<&str>) -> (u64, Option<String>) {
    (number, user.map(str::to_owned))
}

#[tokio::test(start_paused = true)]
async fn every_member_receives_a_change_after_the_listener() {
    let world = World::without_reconciliation(0);
    let clients = world.crowd(MANY).await;
    world.change_rules(1, None);
    assert_eq!(world.rules.take(), [told(1, None)]);
    assert_eq!(clients[0].received(), "joined 0;");
    world.change_rules(2, Some("7"));
    for client in &clients {
        client.until(|all| all == "joined 0;room 1;7 2;").await;
    }
    assert_eq!(world.rules.take(), [told(2, Some("7"))]);
}

/// Where a number is missing, the change may concern anyone.
#[tokio::test(start_paused = true)]
async fn the_listener_is_told_of_each_number_once_in_ascending_order() {
    let world = World::without_reconciliation(0);
    world.join(&Client::new(1), None).await;
    for (number, user) in [
        (1, Some("7")),
        (1, Some("7")),
        (3, Some("8")),
        (2, Some("7")),
        (4, None),
        (5, Some("7")),
        (3, Some("8")),
    ] {
        world.change_rules(number, user);
    }
    let expected = [
        told(1, Some("7")),
        told(3, None),
        told(4, None),
        told(5, Some("7")),
    ];
    assert_eq!(world.rules.take(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_older_change_of_the_same_subject_never_follows_a_newer_one() {
    let world = World::without_reconciliation(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    for (number, user) in [
        (3, Some("7")),
        (2, None),
        (1, Some("7")),
        (3, Some("7")),
        (4, Some("8")),
        (2, None),
    ] {
        world.change_rules(number, user);
        sleep(SECOND).await;
    }
    assert_eq!(client.received(), "joined 0;7 3;room 2;8 4;");
}

/// What changes after that is handed out as before.
#[tokio::test(start_paused = true)]
async fn late_changes_are_dropped_when_very_many_users_are_concerned() {
    let world = World::without_reconciliation(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    for number in 1..=1000 {
        world.change_rules(number, Some(&number.to_string()));
        tokio::task::yield_now().await;
    }
    client.until(|all| all.ends_with(";1000 1000;")).await;
    world.change_rules(1002, Some("1002"));
    for (number, user) in [(1, "1"), (900, "late"), (1001, "late"), (1003, "1")] {
        world.change_rules(number, Some(user));
    }
    client
        .until(|all| all.ends_with(";1002 1002;1 1003;"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_keep_up_misses_a_change_and_no_message() {
    let world = World::with(0);
    let (client, behind) = (Client::new(1), Client::new(2));
    for client in [&client, &behind] {
        world.join(client, None).await;
    }
    behind.set_space(false);
    world.change_rules(1, None);
    world.send(1);
    world.change_rules(2, None);
    client.until(|all| all.ends_with("room 2;")).await;
    behind.set_space(true);
    behind.until(|all| all == "joined 0;1;").await;
    world.change_rules(3, None);
    behind.until(|all| all == "joined 0;1;room 3;").await;
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_hint_was_lost_is_found_within_a_second() {
    let world = World::with(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    sleep(SECOND).await;
    world.log.rules.store(2, Ordering::SeqCst);
    sleep(SECOND).await;
    assert_eq!(world.rules.take(), [told(2, None)]);
    // Its hint is only late: it is handed out, and the listener knows.
    world.change_rules(2, Some("7"));
    client.until(|all| all == "joined 0;7 2;").await;
    world.log.unknown_changes.store(2, Ordering::SeqCst);
    sleep(5 * SECOND).await;
    assert_eq!(world.rules.take(), []);
    // Nor is a state that is older than a hint.
    world.change_rules(3, Some("7"));
    world.log.store_up_to(1);
    sleep(SECOND).await;
    assert_eq!(world.rules.take(), [told(3, Some("7"))]);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_found_though_the_changes_are_unknown_and_rooms_cannot_be_read() {
    let world = World::with(0);
    world.join(&Client::new(1), None).await;
    sleep(SECOND).await;
    world.log.failing_newest.store(2, Ordering::SeqCst);
    world.log.unknown_changes.store(5, Ordering::SeqCst);
    world.log.rules.store(1, Ordering::SeqCst);
    sleep(3 * SECOND).await;
    assert_eq!(world.rules.take(), [told(1, None)]);
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_room_that_is_not_active_are_ignored() {
    let world = World::with(0);
    let client = Client::new(1);
    world.change_rules(1, None);
    world.join(&client, None).await;
    world.rooms.leave(room(), client.id());
    world.log.rules.store(2, Ordering::SeqCst);
    world.change_rules(2, None);
    sleep(SECOND).await;
    assert_eq!(world.rules.take(), []);
    // A connection that is about to join is concerned.
    let entrance = world.rooms.open(room(), &client);
    world.change_rules(3, None);
    assert_eq!(world.rules.take(), [told(3, None)]);
    drop(entrance);
}
