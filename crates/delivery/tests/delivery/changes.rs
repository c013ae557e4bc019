//! Changes of messages: at once, merged, and after the message itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat_domain::ports::{ChangesPage, MockChangeRepository};
use chat_domain::{ChangeKind, ChangedMessage, Generation, MessageChanges, Rev, RoomEntry, UserId};

use crate::client::Client;
use crate::log::message;
use crate::world::World;

fn rev(n: u64) -> Rev {
    Rev::new(n).unwrap()
}

/// A room with three messages, of which the second was changed as often as the counter says.
fn world() -> (World, Arc<AtomicU64>) {
    let changed = Arc::new(AtomicU64::new(0));
    let (mut changes, newest) = (MockChangeRepository::new(), changed.clone());
    changes
        .expect_changed_after()
        .returning(move |_, after, _, _| {
            let newest = newest.load(Ordering::SeqCst);
            let mut message = message(2, "hello");
            message.changes = Some(Box::new(MessageChanges {
                rev: rev(newest),
                edited_at: None,
                deleted_at: None,
                erased_at: None,
                reactions: Vec::new(),
            }));
            let changed = ChangedMessage {
                message,
                kind: ChangeKind::Reactions,
                by: Some(UserId::new("7").unwrap()),
                previous: rev(newest.saturating_sub(1)),
            };
            Ok(ChangesPage {
                messages: (newest > after.get())
                    .then_some(changed)
                    .into_iter()
                    .collect(),
                has_more: false,
                newest: rev(newest),
                generation: Generation::FIRST,
            })
        });
    (World::with_changes(3, Arc::new(changes)), changed)
}

fn change_to(world: &World, changed: &AtomicU64, n: u64) {
    changed.store(n, Ordering::SeqCst);
    world.announce_of(0, RoomEntry::Changes { rev: rev(n) });
}

#[tokio::test(start_paused = true)]
async fn the_first_change_arrives_at_once_and_a_thousand_more_as_few_packets() {
    let (world, changed) = world();
    let client = Client::new(1);
    world.join(&client, None).await;
    change_to(&world, &changed, 1);
    client.until(|all| all.contains("1/2@1 by 7;")).await;
    for n in 2..=1000 {
        change_to(&world, &changed, n);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    client.until(|all| all.ends_with("@1000;")).await;
    let packets = client.received().matches('@').count();
    assert!((3..=7).contains(&packets), "{packets}");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_keep_up_receives_the_newest_state_later() {
    let (world, changed) = world();
    let client = Client::new(1);
    world.join(&client, None).await;
    client.set_space(false);
    change_to(&world, &changed, 1);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    change_to(&world, &changed, 2);
    client.set_space(true);
    client.until(|all| all.ends_with("@2;")).await;
    assert_eq!(client.received(), "joined 3;1/2@2;");
}
