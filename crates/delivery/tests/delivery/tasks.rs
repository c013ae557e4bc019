//! The tasks of a room: what they read and repeat, when they end, and what follows a panic.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chat_delivery::Recipient as _;
use chat_domain::ports::RoomDelivery as _;
use tokio::runtime::Builder;

use crate::MANY;
use crate::client::Client;
use crate::world::{World, room};

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
    world.read("8", 9);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.tasks.len(), 1, "both pointers wait for their message");
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

/// A runtime that has shut down drops a task where it is spawned: under the room's lock.
#[test]
fn a_hint_after_the_runtime_has_shut_down_does_not_block() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let world = runtime.block_on(async {
        let world = World::without_reconciliation(0);
        world.crowd(MANY).await;
        world
    });
    let handle = runtime.handle().clone();
    drop(runtime);
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let _guard = handle.enter();
        world.send(1);
        world.hint(3);
        world.read("7", 1);
        done.send(()).unwrap();
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok(()));
}
