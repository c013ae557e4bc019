//! Changes of messages: at once, merged, paced, and after the message itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat_domain::RoomEntry;
use chat_domain::use_cases::Changed;
use tokio::time::{Instant, sleep};

use crate::MANY;
use crate::changes_log::{ChangesLog, rev};
use crate::client::{Client, changes_encoded};
use crate::world::{World, seq};

/// A room with this many messages, not compared with its log, and what changes in it.
fn world(newest: u64) -> (World, Arc<ChangesLog>) {
    let changes = Arc::new(ChangesLog::default());
    (World::with_changes(newest, changes.clone()), changes)
}

/// Changes a message and announces it.
fn change(world: &World, changes: &ChangesLog, n: u64, by: &'static str) {
    let rev = rev(changes.change(n, by));
    world.announce_of(0, RoomEntry::Changes { rev });
}

async fn joined(world: &World, number: u64) -> Arc<Client> {
    let client = Client::new(number);
    world.join(&client, None).await;
    client
}

/// Joins after everything that has changed so far.
async fn joined_now(world: &World, changes: &ChangesLog, number: u64) -> Arc<Client> {
    let client = Client::new(number);
    world
        .join_changed(&client, None, changes.newest(), None)
        .await;
    client
}

#[tokio::test(start_paused = true)]
async fn the_first_change_arrives_at_once_and_each_message_at_most_six_times_in_a_second() {
    let (world, changes) = world(3);
    let client = joined(&world, 1).await;
    let began = Instant::now();
    change(&world, &changes, 2, "7");
    client.until(|all| all.contains("1/2@1 by 7;")).await;
    assert!(began.elapsed() <= Duration::from_millis(2));
    let mut times = vec![began];
    let mut count = 1;
    for _ in 0..3000 {
        change(&world, &changes, 2, "7");
        sleep(Duration::from_millis(1)).await;
        let received = client.received().matches('@').count();
        assert!(received <= count + 1, "one packet at a time");
        if received > count {
            times.push(Instant::now());
            count = received;
        }
    }
    client.until(|all| all.ends_with("@3001;")).await;
    // Every 200 ms, neither more often nor less.
    for window in times.windows(6) {
        let took = window[5] - window[0];
        assert!((995..=1010).contains(&took.as_millis()), "{took:?}");
    }
    assert!((15..=16).contains(&times.len()), "{}", times.len());
}

/// Pages that follow each other without a pause contain a message once.
#[tokio::test(start_paused = true)]
async fn pages_of_one_round_do_not_repeat_a_message() {
    let (world, changes) = world(5);
    changes.page.store(1, Ordering::SeqCst);
    let client = joined(&world, 1).await;
    let began = Instant::now();
    for n in 1..=5 {
        change(&world, &changes, n, "7");
    }
    // While the first pages are read, the first message changes again and again.
    for _ in 0..20 {
        sleep(Duration::from_micros(500)).await;
        change(&world, &changes, 1, "7");
    }
    sleep(Duration::from_millis(100)).await;
    let received = client.received();
    let firsts = received.matches("1/1@").count();
    assert!(received.contains("1/5@5"), "{received}");
    assert!(firsts <= 1, "{received}");
    client.until(|all| all.contains("1/1@25")).await;
    assert!(began.elapsed() < Duration::from_millis(250));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_keep_up_receives_the_newest_state_later() {
    let (world, changes) = world(3);
    let client = joined(&world, 1).await;
    client.set_space(false);
    change(&world, &changes, 2, "7");
    sleep(Duration::from_secs(1)).await;
    change(&world, &changes, 2, "8");
    client.set_space(true);
    client.until(|all| all.ends_with("@2;")).await;
    assert_eq!(client.received(), "joined 3;1/2@2;");
}

#[tokio::test(start_paused = true)]
async fn only_merged_changes_do_not_say_who_made_them_to_each_member() {
    let (world, changes) = world(3);
    let early = joined(&world, 1).await;
    change(&world, &changes, 2, "7");
    early.until(|all| all.ends_with("1/2@1 by 7;")).await;
    change(&world, &changes, 2, "8");
    // It has the second change, and waits for one.
    let late = joined_now(&world, &changes, 2).await;
    change(&world, &changes, 2, "9");
    for (client, expected) in [(&early, "1/2@3;"), (&late, "1/2@3 by 9;")] {
        client.until(|all| all.contains("@3")).await;
        assert!(
            client.received().ends_with(expected),
            "{}",
            client.received()
        );
    }
    change(&world, &changes, 2, "7");
    for client in [&early, &late] {
        client.until(|all| all.ends_with("1/2@4 by 7;")).await;
    }
}

/// The first page passes over the first change of message 1, because there is a later one.
#[tokio::test(start_paused = true)]
async fn changes_that_are_merged_across_pages_do_not_say_who_made_them() {
    let (world, changes) = world(3);
    changes.page.store(1, Ordering::SeqCst);
    let client = joined(&world, 1).await;
    for (n, by) in [(1, "7"), (2, "8"), (1, "9")] {
        changes.change(n, by);
    }
    world.announce_of(0, RoomEntry::Changes { rev: rev(3) });
    client.until(|all| all.contains("@3")).await;
    assert_eq!(client.received(), "joined 3;1/2@2 by 8;1/1@3;");
}

#[tokio::test(start_paused = true)]
async fn a_change_waits_for_its_message_and_so_do_those_after_it() {
    let (world, changes) = world(3);
    let client = joined(&world, 1).await;
    world.log.store_up_to(4);
    changes.change(2, "7");
    changes.change(4, "7");
    changes.change(4, "8");
    change(&world, &changes, 3, "7");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(client.received(), "joined 3;1/2@1 by 7;");
    world.hint(4);
    client.until(|all| all.contains("@4")).await;
    // Both changes of message 4 are merged, although the first was passed over long ago.
    assert_eq!(client.received(), "joined 3;1/2@1 by 7;4;1/4@3;1/3@4 by 7;");
}

#[tokio::test(start_paused = true)]
async fn a_join_replays_what_changed_of_the_messages_that_the_client_has() {
    let (world, changes) = world(5);
    for (n, by) in [(1, "7"), (5, "7"), (2, "7"), (3, "8"), (2, "9")] {
        changes.change(n, by);
    }
    for (after_rev, expected) in [
        (0, "1/1@1 by 7;1/3@4 by 8;1/2@5;4;5;joined 5 rev 5;"),
        (3, "1/3@4 by 8;1/2@5 by 9;4;5;joined 5 rev 5;"),
        (5, "4;5;joined 5 rev 5;"),
    ] {
        let client = Client::new(after_rev + 1);
        let changed = Changed {
            after: rev(after_rev),
            up_to: seq(3),
        };
        world
            .join_changed(&client, Some(3), rev(5), Some(changed))
            .await;
        assert_eq!(client.received(), expected, "after {after_rev}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_of_up_to_a_thousand_messages_are_replayed() {
    for (messages, is_replayed) in [(1000, true), (1001, false)] {
        let (world, changes) = world(messages);
        // Twice, so that there are more changes than messages.
        for n in (1..=messages).chain(1..=messages) {
            changes.change(n, "7");
        }
        let client = Client::new(1);
        let changed = Changed {
            after: rev(0),
            up_to: seq(messages),
        };
        let newest = changes.newest();
        world
            .join_changed(&client, Some(messages), newest, Some(changed))
            .await;
        let received = client.received();
        let replayed = received.matches('@').count() as u64;
        match is_replayed {
            true => {
                assert_eq!(replayed, messages);
                assert!(received.ends_with("joined 1000 rev 2000;"), "{received}");
            }
            false => assert_eq!(received, "joined 1001 rev 2002 changes missed 1-2002;"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_encoded_at_most_twice_however_many_members_there_are() {
    let (world, changes) = world(3);
    let early = world.crowd(MANY).await;
    change(&world, &changes, 2, "7");
    for client in &early {
        client.until(|all| all.ends_with("1/2@1 by 7;")).await;
    }
    assert_eq!(changes_encoded(), 1);
    change(&world, &changes, 2, "8");
    let mut late = Vec::new();
    for n in 0..MANY {
        late.push(joined_now(&world, &changes, MANY + n).await);
    }
    change(&world, &changes, 2, "9");
    for client in early.iter().chain(&late) {
        client.until(|all| all.contains("@3")).await;
    }
    assert_eq!(changes_encoded(), 3, "alone, and merged");
    assert_eq!(changes.reads(), 2, "once for all members");
}

/// A change that overtakes its message on the way to the members would make them fall behind, and
/// each would read the log.
#[tokio::test(start_paused = true)]
async fn a_change_does_not_overtake_its_message_in_a_room_with_many_members() {
    let (world, changes) = world(3);
    let clients = world.crowd(10 * MANY).await;
    for n in 4..=20 {
        world.send(n);
        change(&world, &changes, n, "7");
        sleep(Duration::from_millis(50)).await;
    }
    for client in &clients {
        client.until(|all| all.contains("1/20@17")).await;
    }
    assert_eq!(world.log.reads.load(Ordering::SeqCst), 0);
    assert!(changes.reads() <= 17, "{}", changes.reads());
}
