//! Messages reach members in order, whatever happens to hints, and how they are handed out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat_delivery::Recipient as _;
use chat_domain::MAX_NUMBER;
use chat_domain::ports::RoomDelivery as _;
use tokio::time::{Instant, timeout};

use crate::client::Client;
use crate::world::{World, room};
use crate::{MANY, numbers};

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

/// Another node's hints are not trusted: the log decides what exists.
#[tokio::test(start_paused = true)]
async fn a_hint_far_beyond_the_log_is_forgotten_once_the_log_was_read() {
    let world = World::with(3);
    let client = Client::new(1);
    world.join(&client, None).await;
    world.hint(MAX_NUMBER);
    let read = async {
        while world.log.reads.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(1), read).await.unwrap();
    // Virtual time: many comparisons with the log, and further messages.
    tokio::time::sleep(Duration::from_secs(60)).await;
    for n in 4..=6 {
        world.send(n);
    }
    client.until(|all| all == "joined 3;4;5;6;").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 1, "it still waits");
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

/// Every second message is another node's, whose hints are lost.
#[tokio::test(start_paused = true)]
async fn while_hints_are_lost_this_nodes_messages_do_not_wait_for_them() {
    const DETECTED_AFTER: u64 = 2;
    let world = World::without_reconciliation(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    for gap in 1..=20 {
        let began = Instant::now();
        world.send(2 * gap);
        client
            .until(|all| all.ends_with(&format!(";{};", 2 * gap)))
            .await;
        let took = began.elapsed();
        // One of them finds out whether hints arrive again.
        let may_wait = gap <= DETECTED_AFTER + 1;
        assert!(
            may_wait || took < Duration::from_millis(5),
            "{gap}: {took:?}"
        );
    }
    // A hint arrives while one of the gaps is given time: from then on, none is read.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let reads = world.log.reads.load(Ordering::SeqCst);
    for n in [42, 44, 46] {
        world.send(n);
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.hint(n - 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.log.reads.load(Ordering::SeqCst), reads);
    assert_eq!(client.messages(), (1..=46).collect::<Vec<_>>());
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
    // So few that the room keeps none of its last messages for them.
    let (left, staying) = clients.split_at(290);
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

#[tokio::test(start_paused = true)]
async fn members_of_a_large_room_that_fall_behind_together_read_no_log() {
    let world = World::without_reconciliation(0);
    let clients = world.crowd(MANY).await;
    let (slow, fast) = clients.split_at(50);
    slow.iter().for_each(|client| client.set_space(false));
    (1..=200).for_each(|n| world.send(n));
    fast[0].until(|all| all.ends_with(";200;")).await;
    for client in slow {
        client.set_space(true);
        client.until(|all| all.ends_with(";200;")).await;
        assert_eq!(client.received(), format!("joined 0;{}", numbers(1..=200)));
    }
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 0);
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

/// However many hints arrive behind a gap, one task reads it.
#[tokio::test(start_paused = true)]
async fn a_gap_is_read_once() {
    let world = World::without_reconciliation(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    world.log.store_up_to(9);
    (2..=9).for_each(|n| world.hint(n));
    client.until(|all| all.ends_with(";9;")).await;
    assert_eq!(client.received(), format!("joined 0;{}", numbers(1..=9)));
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_behind_passes_deleted_messages_in_one_read() {
    let world = World::without_reconciliation(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    client.set_space(false);
    (1..=3).for_each(|n| world.send(n));
    world.log.delete(2);
    world.log.delete(3);
    client.set_space(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.tasks.is_empty(), "it has caught up");
    world.send(4);
    assert_eq!(client.received(), "joined 0;1;4;");
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 1);
}
