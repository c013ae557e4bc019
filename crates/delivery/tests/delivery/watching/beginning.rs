//! Beginning to watch: between the client's list and what it is told, nothing is missed.

use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::SECOND;
use super::inboxes::{World, token};
use crate::client::Client;

/// The change may have been reported before or after the connection has begun.
#[tokio::test(start_paused = true)]
async fn what_changes_between_the_list_and_the_watch_is_told() {
    let world = World::with_rooms("ada", 1..=9);
    let client = Client::new(1);
    world.report(&[1], &[]);
    let listed = world.watchers.now();
    world.send(2);
    world.store_message(3);
    world.read(4, "ada", 1);
    world.store_removal(5, "ada");
    world.report(&[], &[(5, "ada")]);
    world.store_removal(6, "ada");
    world
        .watch_since(&client, &token("ada", None), Some(listed))
        .await;
    client
        .until(|all| all.contains("2@2/0;") && all.contains("4@1/1;"))
        .await;
    world.report(&[3], &[(6, "ada")]);
    client
        .until(|all| all.contains("3@2/0;") && all.contains("-6 removed;"))
        .await;
    assert!(client.received().contains("-5 removed;"));
    sleep(3 * SECOND).await;
    assert_eq!(
        client.received().matches(';').count(),
        5,
        "{}",
        client.received()
    );
}

/// The other connection of the user was told already.
#[tokio::test(start_paused = true)]
async fn a_second_connection_is_told_what_its_own_list_lacks() {
    let world = World::with_rooms("ada", 1..=3);
    let first = world.watching(1, "ada").await;
    sleep(SECOND).await;
    let (second, listed) = (Client::new(2), world.watchers.now());
    world.send(1);
    first.until(|all| all == "1@2/0;").await;
    // Told to the first one before it is reported.
    world.store_message(2);
    world.read(2, "ada", 2);
    first.until(|all| all == "1@2/0;2@2/2;").await;
    world
        .watch_since(&second, &token("ada", None), Some(listed))
        .await;
    world.report(&[2], &[]);
    second
        .until(|all| all.contains("1@2/0;") && all.contains("2@2/2;"))
        .await;
    sleep(3 * SECOND).await;
    assert_eq!(first.received(), "1@2/0;2@2/2;");
    assert!(!second.received().contains("3@"), "{}", second.received());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_too_old_to_be_compared_is_told_anew() {
    let world = World::with_rooms("ada", 1..=100);
    let client = Client::new(1);
    let listed = world.watchers.now();
    world.send(1);
    for _ in 0..100 {
        world.report(&[], &[]);
    }
    world
        .watch_since(&client, &token("ada", None), Some(listed))
        .await;
    client.until(|all| all.matches(';').count() == 100).await;
    assert!(client.received().contains(";1@2/0;") || client.received().starts_with("1@2/0;"));
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_the_rooms_are_read_is_told() {
    let world = World::with_rooms("ada", 1..=3);
    let client = Client::new(1);
    let token = token("ada", None);
    let watch = world.watch(&client, &token);
    let change = async {
        world.send(1);
        world.store_member(4, "ada");
        world.report(&[], &[(4, "ada")]);
    };
    tokio::join!(biased; watch, change);
    client
        .until(|all| all.contains("1@2/0;") && all.contains("4@1/0;"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn watching_twice_changes_nothing_and_a_failure_leaves_nothing_behind() {
    let world = World::with_rooms("ada", 1..=3);
    let (client, token) = (Client::new(1), token("ada", None));
    world.inboxes.failing.store(1, Ordering::SeqCst);
    let failed = world.watchers.watch(&client, &token, None).await;
    assert!(failed.is_err());
    assert_eq!(world.watchers.counts(), (0, 0));
    for _ in 0..2 {
        world.watch(&client, &token).await;
        assert_eq!(world.watchers.counts(), (1, 3));
    }
    world.send(1);
    client.until(|all| all == "1@2/0;").await;
    world.end(&client);
    world.end(&client);
    world.send(1);
    sleep(3 * SECOND).await;
    assert_eq!(client.received(), "1@2/0;");
    assert_eq!(world.watchers.counts(), (0, 0));
}
