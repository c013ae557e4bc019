//! Joining with a replay, and leaving.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chat_delivery::Recipient as _;
use chat_domain::ports::RoomDelivery;

use crate::client::Client;
use crate::world::{World, room, seq};
use crate::{MANY, numbers};

#[tokio::test(start_paused = true)]
async fn a_replay_ends_at_the_resume_point_and_the_rest_follows_live() {
    let world = World::with(250);
    let client = Client::new(1);
    world.join(&Client::new(2), None).await;
    client.set_space(false);
    let join = async {
        tokio::task::yield_now().await;
        // Stored while the replay waits for the client.
        (251..=600).for_each(|n| world.send(n));
        client.set_space(true);
    };
    tokio::join!(biased; world.join(&client, Some(100)), join);
    client.until(|all| all.ends_with(";600;")).await;
    let received = client.received();
    let (replayed, live) = received.split_once("joined ").unwrap();
    let (seam, live) = live.split_once(';').unwrap();
    let seam: u64 = seam.parse().unwrap();
    assert!((250..=350).contains(&seam), "{seam}");
    assert_eq!(replayed, numbers(101..=seam));
    assert_eq!(live, numbers(seam + 1..=600));
}

/// A hint may be late: the message is stored and acknowledged, but not released.
#[tokio::test(start_paused = true)]
async fn a_resume_point_covers_what_was_stored_before_the_join_and_is_not_released() {
    let world = World::without_reconciliation(5);
    world.join(&Client::new(1), None).await;
    world.log.store_up_to(8);
    let (fresh, replaying) = (Client::new(2), Client::new(3));
    world.join(&fresh, None).await;
    world.join(&replaying, Some(4)).await;
    (6..=9).for_each(|n| world.send(n));
    for client in [&fresh, &replaying] {
        client.until(|all| all.ends_with(";9;")).await;
    }
    assert_eq!(fresh.received(), "joined 8;9;");
    assert_eq!(replaying.received(), "5;6;7;8;joined 8;9;");
}

/// What arrives while the rejoin reads the log precedes the join.
#[tokio::test(start_paused = true)]
async fn a_rejoin_replays_what_arrives_until_it_leaves() {
    let world = World::without_reconciliation(5);
    let client = Client::new(1);
    world.join(&client, Some(5)).await;
    world.send(6);
    world.join_at(&client, Some(5), seq(5)).await;
    world.send(7);
    assert_eq!(client.received(), "joined 5;6;6;joined 6;7;");
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_nothing_reads_nothing_and_is_followed_by_live_messages_at_once() {
    let world = World::without_reconciliation(5);
    let client = Client::new(1);
    world.join(&client, Some(5)).await;
    world.send(6);
    assert_eq!(client.received(), "joined 5;6;", "before any other turn");
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_cannot_be_read_to_its_end_reports_the_rest_as_missed() {
    let world = World::with(250);
    let client = Client::new(1);
    world.log.failing.store(1, Ordering::SeqCst);
    world.join(&client, Some(100)).await;
    world.send(251);
    client.until(|all| all.ends_with(";251;")).await;
    assert_eq!(client.received(), "joined 250 missed 101-250;251;");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_during_its_replay_is_not_in_the_room() {
    let world = World::with(250);
    let client = Client::new(1);
    client.set_space(false);
    let disconnect = async { client.disconnect() };
    tokio::join!(biased; world.join(&client, Some(0)), disconnect);
    assert_eq!(client.received(), "");
    assert_eq!(world.rooms.count(), 0);
    assert!(world.events.served.lock().unwrap().is_empty());
}

/// The contract of the port `RoomDelivery`.
#[tokio::test(start_paused = true)]
async fn after_leaving_nothing_from_the_room_arrives() {
    let world = World::with(0);
    let delivery: Arc<dyn RoomDelivery> = world.rooms.clone();
    let clients = world.crowd(MANY).await;
    world.send(1);
    for client in &clients {
        client.until(|all| all.ends_with("1;")).await;
    }
    let (gone, left) = clients.split_at(60);
    world.send(2);
    for client in gone {
        delivery.leave(room(), client.id());
        delivery.leave(room(), client.id());
    }
    let until_now: Vec<_> = gone.iter().map(|client| client.received()).collect();
    world.read("7", 2);
    world.send(3);
    for client in left {
        client
            .until(|all| all.contains(";3;") && all.contains("7:2;"))
            .await;
    }
    for (client, before) in gone.iter().zip(until_now) {
        assert_eq!(client.received(), before);
    }
    assert_eq!(world.rooms.count(), 1);
    assert_eq!(*world.events.served.lock().unwrap(), [room()]);
    for client in left {
        delivery.leave(room(), client.id());
    }
    assert_eq!(world.rooms.count(), 0);
    assert!(world.events.served.lock().unwrap().is_empty());
}
