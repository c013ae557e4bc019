//! What members receive, and in which order, whatever happens to hints, reads and clients.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat_delivery::Recipient as _;
use chat_domain::ports::RoomDelivery;
use tokio::time::Instant;

use support::{Client, World, room};

/// More members than are served in the announcing task.
const MANY: u64 = 100;

fn numbers(range: std::ops::RangeInclusive<u64>) -> String {
    range.map(|n| format!("{n};")).collect()
}

#[tokio::test(start_paused = true)]
async fn members_receive_messages_in_order_whatever_the_order_of_hints() {
    let world = World::with(7);
    let client = Client::new(1);
    world.join(&client, None).await;
    for n in [9, 8, 8, 10] {
        world.send(n);
    }
    client.until(|all| all == "joined 7;8;9;10;").await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_last_hint_costs_less_than_a_second() {
    let world = World::with(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    let began = Instant::now();
    world.log.store_up_to(3);
    client.until(|all| all.ends_with("1;2;3;")).await;
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// Without any hint, a room with many members reads its log as fast as it can: there is no
/// pause per page.
#[tokio::test(start_paused = true)]
async fn a_large_gap_is_filled_without_pauses() {
    let world = World::with(0);
    let clients = world.crowd(MANY).await;
    let began = Instant::now();
    world.log.store_up_to(50_000);
    for client in &clients {
        client.until(|all| all.ends_with(";50000;")).await;
        assert_eq!(client.messages(), (1..=50_000).collect::<Vec<_>>());
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_task_that_announces_hands_nothing_to_many_members() {
    let world = World::with(0);
    let clients = world.crowd(MANY).await;
    world.send(1);
    for user in 0..1000 {
        world.read(&user.to_string(), 1);
    }
    let is_untouched = |client: &Arc<Client>| client.received() == "joined 0;";
    assert!(clients.iter().all(is_untouched), "before any other turn");
    for client in &clients {
        client.until(|all| all.matches(':').count() == 1000).await;
        assert!(client.received().starts_with("joined 0;1;"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_falls_behind_is_served_from_the_log() {
    let world = World::with(0);
    let (slow, fast) = (Client::new(1), Client::new(2));
    world.join(&slow, None).await;
    world.join(&fast, None).await;
    slow.set_space(false);
    for n in 1..=500 {
        world.send(n);
    }
    fast.until(|all| all.ends_with(";500;")).await;
    assert_eq!(slow.messages(), [0; 0]);
    world.log.delete(250);
    slow.set_space(true);
    slow.until(|all| all.ends_with(";500;")).await;
    world.send(501);
    slow.until(|all| all.ends_with(";501;")).await;
    let expected = numbers(1..=249) + &numbers(251..=501);
    assert_eq!(slow.received(), format!("joined 0;{expected}"));
}

/// What is read for one member waits in memory until its client takes it.
#[tokio::test(start_paused = true)]
async fn a_page_for_one_member_has_at_most_64_kib_and_one_for_a_room_at_most_1_mib() {
    for (space, bounds) in [(false, 62_000..=65_536), (true, 1_000_000..=1_048_576)] {
        let world = World::with(0);
        let client = Client::new(1);
        world.join(&client, None).await;
        client.set_space(space);
        world.log.store_texts_up_to(500, &"x".repeat(4000));
        if !space {
            // The room has all of them, so that only the member reads.
            (1..=500).for_each(|n| world.hint(n));
            client.set_space(true);
        }
        client.until(|all| all.ends_with(";500;")).await;
        let largest = world.log.largest_page.load(Ordering::SeqCst);
        assert!(bounds.contains(&largest), "{largest}");
    }
}

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
    assert_eq!(*world.events.served.lock().unwrap(), [room()]);
    for client in left {
        delivery.leave(room(), client.id());
    }
    assert_eq!(world.rooms.count(), 0);
    assert!(world.events.served.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_behind_receives_a_read_pointer_after_the_message_it_names() {
    let world = World::with(0);
    let (slow, fast) = (Client::new(1), Client::new(2));
    world.join(&slow, None).await;
    world.join(&fast, None).await;
    slow.set_space(false);
    world.send(1);
    world.read("7", 1);
    fast.until(|all| all.ends_with("7:1;")).await;
    world.send(2);
    world.read("7", 2);
    fast.until(|all| all.ends_with("7:2;")).await;
    slow.set_space(true);
    slow.until(|all| all.ends_with("7:2;")).await;
    assert_eq!(slow.received(), "joined 0;1;2;7:2;", "the newest wins");
}

/// A client that reads nothing must not cost unbounded memory.
#[tokio::test(start_paused = true)]
async fn a_member_that_is_behind_keeps_the_newest_read_pointers_of_1000_users() {
    let world = World::with(0);
    let (slow, fast) = (Client::new(1), Client::new(2));
    world.join(&slow, None).await;
    world.join(&fast, None).await;
    slow.set_space(false);
    world.send(1);
    for user in 0..1001 {
        world.read(&user.to_string(), 1);
    }
    fast.until(|all| all.ends_with(";1000:1;")).await;
    world.send(2);
    world.read("0", 2);
    fast.until(|all| all.ends_with(";0:2;")).await;
    slow.set_space(true);
    slow.until(|all| all.matches(':').count() == 1000).await;
    let received = slow.received();
    assert!(received.starts_with("joined 0;1;2;0:2;"), "{received}");
    assert!(!received.contains(";1000:1;"));
}

/// A hint may be delayed by minutes, for example in a paused Redis.
#[tokio::test(start_paused = true)]
async fn a_late_read_pointer_never_follows_a_newer_one() {
    let world = World::with(9);
    let client = Client::new(1);
    world.join(&client, None).await;
    world.read("7", 8);
    client.until(|all| all.ends_with("7:8;")).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.read("7", 5);
    world.read("8", 9);
    client.until(|all| all.ends_with("8:9;")).await;
    assert_eq!(client.received(), "joined 9;7:8;8:9;");
}

/// A hint that precedes the commit it names, or a read that does not see it, must not make
/// the room read in a loop.
#[tokio::test(start_paused = true)]
async fn a_read_that_is_not_fresh_enough_is_repeated_with_pauses() {
    let world = World::with(5);
    let client = Client::new(1);
    world.join(&client, None).await;
    world.hint(9);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.log.reads.load(Ordering::SeqCst) <= 3);
    // The same for a member that has fallen behind.
    client.set_space(false);
    world.log.store_up_to(9);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.log.forget_after(5);
    world.log.reads.store(0, Ordering::SeqCst);
    client.set_space(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.log.reads.load(Ordering::SeqCst) <= 3);
    world.log.store_up_to(9);
    client.until(|all| all == "joined 5;6;7;8;9;").await;
}

/// Hints of two commits may cross: what arrives a moment later is not read from the log.
#[tokio::test(start_paused = true)]
async fn hints_that_cross_cause_no_read() {
    let world = World::without_reconciliation(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    world.log.store_up_to(2);
    world.hint(2);
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.hint(1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.received(), "joined 0;1;2;");
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn up_to_32_members_are_served_by_the_task_that_announces() {
    for (size, received) in [(32, "joined 0;1;"), (33, "joined 0;")] {
        let world = World::without_reconciliation(0);
        let clients = world.crowd(size).await;
        world.send(1);
        let is_served = |client: &Arc<Client>| client.received() == received;
        assert!(clients.iter().all(is_served), "before any other turn");
        for client in &clients {
            client.until(|all| all == "joined 0;1;").await;
        }
    }
}

/// While a task walks the members, only that task hands out messages: otherwise the members
/// that it has not reached would fall behind.
#[tokio::test(start_paused = true)]
async fn a_room_that_shrinks_while_a_message_is_handed_out_reads_nothing() {
    let world = World::without_reconciliation(0);
    let clients = world.crowd(300).await;
    world.send(1);
    clients[0].until(|all| all == "joined 0;1;").await;
    let (left, staying) = clients.split_at(280);
    assert!(staying.iter().all(|client| client.messages().is_empty()));
    for client in left {
        world.rooms.leave(room(), client.id());
    }
    world.send(2);
    for client in staying {
        client.until(|all| all == "joined 0;1;2;").await;
    }
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 0);
}

/// A pointer may name a message that never arrives, for example when its room has no
/// members any more.
#[tokio::test(start_paused = true)]
async fn no_task_waits_without_work_or_without_members() {
    let world = World::without_reconciliation(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    world.send(1);
    world.read("7", 1);
    client.until(|all| all == "joined 0;1;7:1;").await;
    tokio::task::yield_now().await;
    assert!(world.tasks.is_empty(), "nothing is left to do");
    world.read("7", 9);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.tasks.len(), 1, "the pointer waits for its message");
    world.rooms.leave(room(), client.id());
    tokio::task::yield_now().await;
    assert!(world.tasks.is_empty(), "nothing is left to wait for");
}

#[tokio::test(start_paused = true)]
async fn a_room_without_members_is_not_read() {
    let world = World::without_reconciliation(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    world.log.store_up_to(50_000);
    world.hint(50_000);
    world.rooms.leave(room(), client.id());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_task_panicked_is_served_by_another() {
    let world = World::with(0);
    let (slow, fast) = (Client::new(1), Client::new(2));
    world.join(&slow, None).await;
    world.join(&fast, None).await;
    slow.set_space(false);
    world.send(1);
    world.log.panicking.store(1, Ordering::SeqCst);
    slow.set_space(true);
    slow.until(|all| all == "joined 0;1;").await;
    assert_eq!(world.log.panicking.load(Ordering::SeqCst), 0);
    // A task that ends well is not followed by another.
    let waits = slow.waits.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(slow.waits.load(Ordering::SeqCst), waits);
    assert!(world.tasks.is_empty());
}

/// Whatever panics, the room goes on: flags are cleared, and a member that a task left
/// behind is served from the log.
#[tokio::test(start_paused = true)]
async fn a_panic_leaves_no_room_frozen_and_no_member_with_a_gap() {
    let world = World::with(0);
    let clients = world.crowd(MANY).await;
    // A read that fills the room's gap, while the hint for 1 is missing.
    world.log.panicking.store(1, Ordering::SeqCst);
    world.log.store_up_to(1);
    world.send(2);
    for client in &clients {
        client.until(|all| all.ends_with("1;2;")).await;
    }
    // A read for a member that has fallen behind.
    clients[3].set_space(false);
    world.send(3);
    clients[4].until(|all| all.ends_with("3;")).await;
    world.log.panicking.store(1, Ordering::SeqCst);
    clients[3].set_space(true);
    clients[3].until(|all| all.ends_with("3;")).await;
    // The task that hands messages to the members.
    clients[50].panic_once();
    world.send(4);
    world.send(5);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.send(6);
    for client in &clients {
        client.until(|all| all.ends_with("6;")).await;
        assert_eq!(client.received(), "joined 0;1;2;3;4;5;6;");
    }
}
