//! A room that is deleted, and whose number is used again: nothing of it reaches the members of
//! the earlier generation, nothing of that one reaches its own members.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use chat_delivery::{NotAdmitted, Recipient as _};
use chat_domain::ports::RoomDelivery as _;
use chat_domain::{
    ChangeSubject, Generation, RoomEntry, RulesNumber, StoredChange, StoredMessage, UserId,
};
use tokio::time::sleep;

use crate::MANY;
use crate::client::Client;
use crate::world::{World, room, seq};

const SECOND: Duration = Duration::from_secs(1);
/// The generation that follows in these tests.
const NEXT: u64 = 7;

fn message(n: u64) -> RoomEntry {
    RoomEntry::Message(Arc::new(StoredMessage::new(seq(n), "".into())))
}

fn read(n: u64) -> RoomEntry {
    RoomEntry::ReadPointer {
        user_id: UserId::new("7").unwrap(),
        seq: seq(n),
    }
}

fn rules(number: u64) -> RoomEntry {
    let encoded = number.to_string().into();
    RoomEntry::Rules {
        number: RulesNumber::new(number),
        change: Arc::new(StoredChange::new(ChangeSubject::Room, encoded)),
    }
}

/// Excludes the members of the closed room, as a listener does.
fn exclude_all(world: &World) -> usize {
    let members = world.rooms.members_of_closed(room());
    let excluded = members.iter().filter(|member| {
        let farewell = Bytes::from_static(b"bye;");
        world.rooms.exclude_closed(room(), member.id(), farewell)
    });
    excluded.count()
}

/// Lets all tasks of the delivery do what they can, reconciliation included.
async fn settle() {
    sleep(2 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_closure_members_receive_nothing_but_their_farewell() {
    let world = World::with(0);
    let clients = world.crowd(MANY).await;
    world.send(1);
    for client in &clients {
        client.until(|all| all.ends_with(";1;")).await;
    }
    // Being handed out, or still waiting to be.
    world.send(2);
    tokio::task::yield_now().await;
    world.announce_of(NEXT, RoomEntry::Closed);
    world.announce_of(NEXT, RoomEntry::Closed);
    assert_eq!(world.rules.closures(), 1);
    let received: Vec<_> = clients.iter().map(|client| client.received()).collect();
    world.send(3);
    world.read("7", 1);
    world.change_rules(6, None);
    assert_eq!(exclude_all(&world), MANY as usize);
    settle().await;
    for (client, received) in clients.iter().zip(received) {
        let all = client.received();
        assert!(
            all.starts_with(&received) && all.ends_with(";bye;"),
            "{all}"
        );
        assert!(!all.contains(";3;") && !all.contains("7:1"), "{all}");
    }
    assert_eq!(world.rooms.count(), 0);
    assert!(world.events.served.lock().unwrap().is_empty());
    assert_eq!(exclude_all(&world), 0);
}

/// Each way to learn of the new room, alone.
#[tokio::test(start_paused = true)]
async fn nothing_of_the_next_generation_reaches_members_of_the_earlier_one() {
    for way in ["message", "read", "rules", "comparison", "told"] {
        let world = match way {
            "comparison" => World::with(3),
            _ => World::without_reconciliation(3),
        };
        let client = Client::new(1);
        world.join(&client, None).await;
        // The node's first comparison states nothing new.
        settle().await;
        world.log.begin_anew(NEXT, 9);
        match way {
            "message" => world.announce_of(NEXT, message(4)),
            "read" => world.announce_of(NEXT, read(3)),
            "rules" => world.announce_of(NEXT, rules(NEXT + 1)),
            "told" => {
                assert!(!world.rooms.note_generation(room(), Generation::new(NEXT)));
            }
            _ => {}
        }
        settle().await;
        assert_eq!(client.received(), "joined 3;", "{way}");
        assert_eq!(world.rules.closures(), 1, "{way}");
        assert_eq!(exclude_all(&world), 1, "{way}");
        assert_eq!(client.received(), "joined 3;bye;", "{way}");
        assert_eq!(world.rooms.count(), 0, "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_the_next_generation_fills_no_gap_of_the_earlier_one() {
    let world = World::without_reconciliation(3);
    let client = Client::new(1);
    world.join(&client, None).await;
    // The hint of 4 was lost. When it is read, the log is that of the next generation.
    world.log.begin_anew(NEXT, 9);
    world.announce_of(0, message(5));
    settle().await;
    assert_eq!(client.received(), "joined 3;");
    assert_eq!(world.rules.closures(), 1);
    assert_eq!(exclude_all(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_has_fallen_behind_is_served_nothing_of_the_next_generation() {
    let world = World::without_reconciliation(0);
    let client = Client::new(1);
    world.join(&client, None).await;
    client.set_space(false);
    // More than the room itself remembers.
    (1..=2000).for_each(|n| world.send(n));
    while world.rooms.lagging_members() == 0 {
        tokio::task::yield_now().await;
    }
    world.log.begin_anew(NEXT, 3000);
    client.set_space(true);
    settle().await;
    assert_eq!(world.rooms.lagging_members(), 0);
    assert_eq!(client.received(), "joined 0;");
    assert_eq!(world.rules.closures(), 1);
    assert_eq!(exclude_all(&world), 1);
    settle().await;
    assert_eq!(client.received(), "joined 0;bye;");
}

#[tokio::test(start_paused = true)]
async fn hints_of_the_earlier_generation_do_no_harm_to_the_next_one() {
    let world = World::with(0);
    world.log.begin_anew(NEXT, 2);
    let client = Client::new(1);
    let entrance = world.rooms.open(room(), &client);
    // Before anything is known of the room, and afterwards.
    world.announce_of(0, message(3));
    world.announce_of(0, read(1000));
    let admitted = world.admit_to(NEXT, entrance, None, seq(2)).await;
    assert_eq!(admitted, Ok(()));
    for entry in [
        message(3),
        message(4),
        read(1000),
        rules(3),
        RoomEntry::Closed,
    ] {
        world.announce_of(0, entry);
    }
    settle().await;
    assert_eq!(client.received(), "joined 2;");
    world.log.store_up_to(3);
    world.announce_of(NEXT, message(3));
    world.announce_of(NEXT, read(3));
    world.announce_of(NEXT, rules(NEXT + 1));
    client.until(|all| all.contains("7:3;")).await;
    client
        .until(|all| all.contains("room 8;") && all.contains("2;3;"))
        .await;
    assert_eq!(world.rules.closures(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_room_is_joined_anew_once_the_members_of_the_earlier_generation_are_excluded() {
    let world = World::with(3);
    let (member, joining) = (Client::new(1), Client::new(2));
    world.join(&member, None).await;
    world.log.begin_anew(NEXT, 1);
    for client in [&joining, &member] {
        let entrance = world.rooms.open(room(), client);
        let admitted = world.admit_to(NEXT, entrance, Some(0), seq(1)).await;
        assert_eq!(admitted, Err(NotAdmitted::Outdated));
    }
    assert_eq!(world.rules.closures(), 1);
    // One that is entering stays, and its permit decides.
    let entrance = world.rooms.open(room(), &joining);
    assert_eq!(exclude_all(&world), 1);
    let admitted = world.admit_to(NEXT, entrance, Some(0), seq(1)).await;
    assert_eq!(admitted, Ok(()));
    world.log.store_up_to(2);
    world.announce_of(NEXT, message(2));
    settle().await;
    assert_eq!(member.received(), "joined 3;bye;");
    assert_eq!(joining.received(), "1;joined 1;2;");
}

#[tokio::test(start_paused = true)]
async fn the_last_member_of_a_closed_room_may_leave_by_itself() {
    let world = World::with(3);
    let (member, joining) = (Client::new(1), Client::new(2));
    world.join(&member, None).await;
    let entrance = world.rooms.open(room(), &joining);
    world.announce_of(NEXT, RoomEntry::Closed);
    world.rooms.leave(room(), member.id());
    assert_eq!(exclude_all(&world), 0);
    let admitted = world.admit_to(NEXT, entrance, None, seq(0)).await;
    assert_eq!(admitted, Ok(()));
    assert_eq!(joining.received(), "joined 0;");
}

#[tokio::test(start_paused = true)]
async fn a_join_that_was_decided_before_the_closure_is_outdated() {
    for after in [None, Some(0)] {
        let world = World::without_reconciliation(250);
        let client = Client::new(1);
        let entrance = world.rooms.open(room(), &client);
        world.announce_of(NEXT, RoomEntry::Closed);
        let admitted = world.admit(entrance, after, seq(250)).await;
        assert_eq!(admitted, Err(NotAdmitted::Outdated), "{after:?}");
        assert_eq!(client.received(), "");
        assert_eq!(world.rooms.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_closure_ends_a_replay() {
    for is_announced in [true, false] {
        let world = World::without_reconciliation(250);
        let client = Client::new(1);
        let entrance = world.rooms.open(room(), &client);
        let close = async {
            // The second page is being read.
            client.until(|all| all.ends_with("100;")).await;
            world.log.begin_anew(NEXT, 300);
            if is_announced {
                world.announce_of(NEXT, RoomEntry::Closed);
            }
        };
        let (admitted, ()) = tokio::join!(world.admit(entrance, Some(0), seq(250)), close);
        assert_eq!(admitted, Err(NotAdmitted::Outdated), "{is_announced}");
        assert_eq!(client.messages().last(), Some(&100));
        assert_eq!(world.rooms.count(), 0);
        assert!(world.log.reads.load(Ordering::SeqCst) <= 2);
    }
}

/// On several threads: in each generation, members receive its messages in order, and nothing
/// after their farewell.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_follows_the_farewell_of_a_closure_though_many_hand_out_at_once() {
    let world = Arc::new(World::with(0));
    for generation in 1..=10 {
        let clients: Vec<_> = (0..MANY).map(Client::new).collect();
        for client in &clients {
            let entrance = world.rooms.open(room(), client);
            let admitted = world.admit_to(generation - 1, entrance, None, seq(0)).await;
            assert_eq!(admitted, Ok(()));
        }
        let sending = tokio::spawn({
            let world = world.clone();
            async move {
                for n in 1..=200 {
                    world.announce_of(generation - 1, message(n));
                    world.announce_of(generation - 1, read(n));
                    tokio::task::yield_now().await;
                }
            }
        });
        clients[0].until(|all| all.contains(";20;")).await;
        world.log.begin_anew(generation, 0);
        world.announce_of(generation, RoomEntry::Closed);
        let excluded = exclude_all(&world);
        assert_eq!(excluded, MANY as usize);
        let received: Vec<_> = clients.iter().map(|client| client.received()).collect();
        sending.await.unwrap();
        for (client, received) in clients.iter().zip(received) {
            assert!(received.ends_with("bye;"), "{received}");
            assert_eq!(client.received(), received);
            let messages = client.messages();
            let expected: Vec<_> = (1..=messages.len() as u64).collect();
            assert_eq!(messages, expected);
        }
        assert_eq!(world.rooms.count(), 0);
    }
}
