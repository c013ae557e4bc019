//! Comparing rooms with the log: what was lost is delivered within a second, also after
//! reads that fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::world::{World, room, seq};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_grow_is_compared_with_no_room() {
    let world = World::with(3);
    let client = Client::new(1);
    world.join(&client, None).await;
    sleep(SECOND).await;
    world.log.newest_reads.store(0, Ordering::SeqCst);
    sleep(60 * SECOND).await;
    assert_eq!(world.log.newest_reads.load(Ordering::SeqCst), 0);
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 0);
}

/// The newest position of the room may have been read before that.
#[tokio::test(start_paused = true)]
async fn a_change_that_is_found_during_a_join_is_remembered() {
    let world = World::with(3);
    let client = Client::new(1);
    sleep(SECOND).await;
    let entrance = world.rooms.open(room(), &client);
    world.log.store_up_to(4);
    sleep(SECOND).await;
    let began = Instant::now();
    world.admit(entrance, None, seq(3)).await.unwrap();
    client.until(|all| all == "joined 3;4;").await;
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_cannot_be_read_is_tried_again_after_each_comparison() {
    let world = World::with(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    sleep(SECOND).await;
    world.log.failing.store(5, Ordering::SeqCst);
    world.log.store_up_to(2);
    sleep(2 * SECOND).await;
    assert_eq!(client.received(), "joined 0;");
    let reads = world.log.reads.load(Ordering::SeqCst);
    assert!((3..=5).contains(&reads), "{reads} reads within 2 s");
    client.until(|all| all == "joined 0;1;2;").await;
    // And not again once it is filled.
    let reads = world.log.reads.load(Ordering::SeqCst);
    sleep(2 * SECOND).await;
    assert_eq!(world.log.reads.load(Ordering::SeqCst), reads);
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_the_changes_cannot_be_read_is_found_afterwards() {
    let world = World::with(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    sleep(SECOND).await;
    world.log.failing_changes.store(10, Ordering::SeqCst);
    world.log.store_up_to(1);
    sleep(3 * SECOND).await;
    assert_eq!(client.received(), "joined 0;");
    let newest_reads = world.log.newest_reads.load(Ordering::SeqCst);
    client.until(|all| all == "joined 0;1;").await;
    // The cursor was kept: no room had to be compared.
    assert_eq!(world.log.newest_reads.load(Ordering::SeqCst), newest_reads);
}

#[tokio::test(start_paused = true)]
async fn unknown_changes_are_found_by_comparing_every_room_until_that_succeeds() {
    let world = World::with(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    sleep(SECOND).await;
    world.log.failing_newest.store(1, Ordering::SeqCst);
    world.log.unknown_changes.store(2, Ordering::SeqCst);
    world.log.newest_reads.store(0, Ordering::SeqCst);
    world.log.store_up_to(1);
    client.until(|all| all == "joined 0;1;").await;
    sleep(2 * SECOND).await;
    assert_eq!(world.log.newest_reads.load(Ordering::SeqCst), 2);
}

/// Neither a later hint nor the log tells of the rest.
#[tokio::test(start_paused = true)]
async fn what_a_panic_in_the_announcing_task_left_is_handed_out_after_a_comparison() {
    let world = World::with(400);
    sleep(SECOND).await;
    let client = Client::new(1);
    world.join_at(&client, None, seq(0)).await;
    // Several batches wait for the first message.
    (2..=400).for_each(|n| world.hint(n));
    client.panic_once();
    let announcing = catch_unwind(AssertUnwindSafe(|| world.hint(1)));
    assert!(announcing.is_err());
    client.until(|all| all.ends_with(";400;")).await;
    assert_eq!(client.messages(), (1..=400).collect::<Vec<_>>());
}
