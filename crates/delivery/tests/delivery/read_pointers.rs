//! Read pointers follow the messages that they name.

use std::time::Duration;

use crate::client::Client;
use crate::world::World;

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
