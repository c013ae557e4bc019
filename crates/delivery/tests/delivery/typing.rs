//! Who is typing reaches the others in the room, and no other connection.

use std::sync::Arc;
use std::time::Duration;

use chat_delivery::Recipient as _;
use chat_domain::ports::RoomDelivery as _;
use chat_domain::{DisplayName, User, UserId};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::world::{World, room};

fn set(world: &World, client: &Client, typing: bool) {
    let user = User {
        id: UserId::new(client.number().to_string()).unwrap(),
        name: DisplayName::from_text("x"),
    };
    world.rooms.set_typing(room(), client.id(), &user, typing);
}

async fn two(world: &World) -> [Arc<Client>; 2] {
    let clients = [Client::new(1), Client::new(2)];
    for client in &clients {
        world.join(client, None).await;
    }
    clients
}

#[tokio::test(start_paused = true)]
async fn the_others_are_told_and_the_user_itself_is_not() {
    let world = World::with(0);
    let [ada, grace] = two(&world).await;
    set(&world, &ada, true);
    set(&world, &grace, true);
    grace.until(|all| all == "joined 0;1 true;").await;
    ada.until(|all| all == "joined 0;2 true;").await;
    set(&world, &ada, false);
    grace.until(|all| all.ends_with("1 true;1 false;")).await;
    let outside = Client::new(3);
    set(&world, &outside, true);
    let began = Instant::now();
    ada.until(|all| all.ends_with("2 true;2 false;")).await;
    assert!(began.elapsed() > Duration::from_secs(4), "it expired");
    assert_eq!(ada.received(), "joined 0;2 true;2 false;");
}

#[tokio::test(start_paused = true)]
async fn a_user_that_leaves_or_is_excluded_stops_typing() {
    let world = World::with(0);
    let [ada, grace] = two(&world).await;
    for excluded in [false, true] {
        set(&world, &ada, true);
        grace.until(|all| all.ends_with("1 true;")).await;
        let began = Instant::now();
        match excluded {
            false => world.rooms.leave(room(), ada.id()),
            true => assert!(world.exclude(&ada)),
        }
        grace.until(|all| all.ends_with("1 true;1 false;")).await;
        assert!(began.elapsed() < Duration::from_secs(2));
        world.join(&ada, None).await;
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_behind_misses_signals() {
    let world = World::with(0);
    let [ada, grace] = two(&world).await;
    let third = Client::new(3);
    world.join(&third, None).await;
    grace.set_space(false);
    world.send(1);
    third.until(|all| all.ends_with(";1;")).await;
    set(&world, &ada, true);
    third.until(|all| all.ends_with("1 true;")).await;
    grace.set_space(true);
    world.send(2);
    grace.until(|all| all.ends_with("2;")).await;
    assert_eq!(grace.received(), "joined 0;1;2;");
}

/// A task of its own waits for what expires: it must not outlive the room.
#[tokio::test(start_paused = true)]
async fn no_task_is_left_of_a_room_that_all_have_left() {
    let world = World::without_reconciliation(0);
    let [ada, grace] = two(&world).await;
    set(&world, &ada, true);
    grace.until(|all| all.ends_with("1 true;")).await;
    for client in [&ada, &grace] {
        world.rooms.leave(room(), client.id());
    }
    world.tasks.close();
    let ended = tokio::time::timeout(Duration::from_secs(1), world.tasks.wait());
    ended.await.unwrap();
}
