//! Excluding a connection: its farewell is the last thing that it receives from the room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat_delivery::NotAdmitted;

use crate::client::Client;
use crate::world::{World, room, seq};
use crate::{MANY, numbers};

#[tokio::test(start_paused = true)]
async fn an_excluded_member_receives_its_farewell_and_nothing_after_it() {
    let world = World::with(0);
    let clients = world.crowd(MANY).await;
    world.send(1);
    for client in &clients {
        client.until(|all| all.ends_with(";1;")).await;
    }
    let (excluded, left) = clients.split_at(60);
    // Being handed out, or still waiting to be.
    world.send(2);
    world.read("7", 2);
    tokio::task::yield_now().await;
    for client in excluded {
        assert!(world.exclude(client));
        assert!(!world.exclude(client), "it is not in the room any more");
    }
    world.read("8", 2);
    world.send(3);
    for client in left {
        client
            .until(|all| all.contains(";3;") && all.contains("8:2;"))
            .await;
    }
    for client in excluded {
        let received = client.received();
        assert!(received.ends_with(";bye;"), "{received}");
        assert_eq!(received.matches("bye").count(), 1);
    }
    for client in left {
        assert!(world.exclude(client));
    }
    assert_eq!(world.rooms.count(), 0);
    assert!(world.events.served.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_not_joined_receives_no_farewell() {
    let world = World::with(1);
    let (stranger, member) = (Client::new(1), Client::new(2));
    assert!(!world.exclude(&stranger));
    world.join(&member, None).await;
    assert!(!world.exclude(&stranger));
    assert_eq!(stranger.received(), "");
    assert_eq!(world.rooms.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_excluded_member_that_has_fallen_behind_is_not_served_any_more() {
    let world = World::with(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    client.set_space(false);
    (1..=200).for_each(|n| world.send(n));
    world.read("7", 200);
    while world.rooms.lagging_members() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(world.exclude(&client));
    client.set_space(true);
    while world.rooms.lagging_members() > 0 {
        tokio::task::yield_now().await;
    }
    world.send(201);
    assert_eq!(client.received(), "joined 0;bye;");
}

#[tokio::test(start_paused = true)]
async fn an_exclusion_ends_a_replay() {
    let world = World::with(250);
    let client = Client::new(1);
    let entrance = world.rooms.open(room(), &client);
    let exclude = async {
        // The second page is being read.
        client.until(|all| all.ends_with("200;")).await;
        assert!(world.exclude(&client));
        assert!(!world.exclude(&client));
        world.send(251);
    };
    let (admitted, ()) = tokio::join!(world.admit(entrance, Some(0), seq(250)), exclude);
    assert_eq!(admitted, Err(NotAdmitted::Excluded));
    world.send(252);
    assert_eq!(client.received(), numbers(1..=200) + "bye;");
    assert_eq!(world.rooms.count(), 0);
    assert!(world.events.served.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_exclusion_ends_a_replay_that_waits_for_its_client() {
    let world = World::with(250);
    let client = Client::new(1);
    client.set_space(false);
    let entrance = world.rooms.open(room(), &client);
    let exclude = async {
        tokio::task::yield_now().await;
        assert!(world.exclude(&client));
        client.set_space(true);
    };
    let (admitted, ()) = tokio::join!(biased; world.admit(entrance, Some(0), seq(250)), exclude);
    assert_eq!(admitted, Err(NotAdmitted::Excluded));
    assert_eq!(client.received(), "bye;");
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 0);
}

/// Its rules may have been read before it was excluded.
#[tokio::test(start_paused = true)]
async fn an_exclusion_before_the_admission_refuses_it() {
    let world = World::with(5);
    for after in [None, Some(2), Some(5)] {
        let client = Client::new(1);
        // An earlier stay ends as well.
        world.join(&client, None).await;
        let entrance = world.rooms.open(room(), &client);
        assert!(world.exclude(&client));
        let admitted = world.admit(entrance, after, seq(5)).await;
        assert_eq!(admitted, Err(NotAdmitted::Excluded), "{after:?}");
        assert_eq!(client.received(), "joined 5;bye;", "{after:?}");
        assert_eq!(world.rooms.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_excluded_connection_may_join_again_while_its_former_join_ends() {
    let world = World::with(5);
    let client = Client::new(1);
    let former = world.rooms.open(room(), &client);
    assert!(world.exclude(&client));
    let entrance = world.rooms.open(room(), &client);
    drop(former);
    assert_eq!(world.admit(entrance, None, seq(5)).await, Ok(()));
    world.send(6);
    assert_eq!(client.received(), "bye;joined 5;6;");
    assert!(world.exclude(&client));
    assert_eq!(world.rooms.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_recipients_of_a_room_are_its_members_and_those_that_are_joining() {
    let world = World::with(5);
    assert!(world.rooms.recipients(room()).is_empty());
    let (member, joining) = (Client::new(1), Client::new(2));
    world.join(&member, None).await;
    let entrance = world.rooms.open(room(), &joining);
    let found = world.rooms.recipients(room());
    assert!(found.len() == 2 && Arc::ptr_eq(&found[0], &member));
    assert!(Arc::ptr_eq(&found[1], &joining));
    world.exclude(&member);
    drop(entrance);
    assert!(world.rooms.recipients(room()).is_empty());
}

/// On several threads, while messages are announced, replayed and caught up with.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_follows_a_farewell_though_many_hand_out_at_once() {
    let world = Arc::new(World::with(300));
    let is_over = Arc::new(AtomicBool::new(false));
    let sending = tokio::spawn({
        let (world, is_over) = (world.clone(), is_over.clone());
        async move {
            let mut n = 300;
            while !is_over.load(Ordering::SeqCst) {
                n += 1;
                world.send(n);
                world.read("7", n);
                world.change_rules(n, None);
                tokio::task::yield_now().await;
            }
        }
    });
    for round in 0..20 {
        let clients: Vec<_> = (0..MANY).map(Client::new).collect();
        let joining: Vec<_> = clients
            .iter()
            .map(|client| {
                let (world, client) = (world.clone(), client.clone());
                let after = [None, Some(0), Some(290)][client.number() as usize % 3];
                tokio::spawn(async move { world.join(&client, after).await })
            })
            .collect();
        clients[0].until(|all| all.len() > 20 * round).await;
        let mut farewells = Vec::new();
        for client in &clients {
            client.set_space(client.number() % 4 > 0);
            let is_excluded = world.exclude(client);
            farewells.push((is_excluded, client.received()));
            client.set_space(true);
        }
        for joining in joining {
            joining.await.unwrap();
        }
        for (client, (is_excluded, received)) in clients.iter().zip(farewells) {
            match is_excluded {
                true => {
                    assert!(received.ends_with("bye;"), "{received}");
                    assert_eq!(client.received(), received);
                }
                // It had not begun to join.
                false => assert_eq!(received, ""),
            }
            world.exclude(client);
        }
    }
    is_over.store(true, Ordering::SeqCst);
    sending.await.unwrap();
}
