use std::cell::RefCell;

use chat_domain::{DisplayName, RoomAccess, User, Visibility};
use tokio::time::advance;

use super::*;

fn id(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn identity(user: &str) -> Arc<Identity> {
    Arc::new(Identity {
        grants: None,
        user: User {
            id: id(user),
            name: DisplayName::from_text("x"),
        },
        rooms: RoomAccess::All,
        visibility: Visibility::Visible,
        issued_at: None,
        expires_at: Timestamp::from_unix_millis(0),
        valid_until: Timestamp::from_unix_millis(0),
    })
}

/// Watchers, what they were told, and who is online.
#[derive(Default)]
struct World {
    watched: Watched<u64>,
    online: Vec<UserId>,
    told: RefCell<Vec<(u64, bool, Option<i64>)>>,
}

impl World {
    fn watch(&mut self, watcher: u64, users: &[(&str, bool)]) -> Vec<bool> {
        let found = users
            .iter()
            .map(|(user, is_covered)| (id(user), is_covered.then(Acquaintance::default)));
        let online = &self.online;
        let states = self.watched.watch(
            ConnectionId::new(watcher),
            Arc::new(watcher),
            identity("me"),
            found.collect(),
            |user_id| online.contains(user_id),
        );
        states.into_iter().map(|state| state.is_online).collect()
    }

    fn set(&mut self, user: &str, is_online: bool) {
        self.online.retain(|online| *online != id(user));
        let seen = match is_online {
            true => None,
            false => Some(Seen::At(Timestamp::from_unix_millis(5))),
        };
        if is_online {
            self.online.push(id(user));
        }
        self.watched.note(&id(user), seen);
    }

    /// Tells what is due. The connections with even numbers take nothing.
    fn tell(&mut self) -> Vec<(u64, bool, Option<i64>)> {
        while let Some(key) = self.watched.take_waiting() {
            let (online, told) = (&self.online, &self.told);
            self.watched.tell(
                key,
                None,
                100,
                |user_id| online.contains(user_id),
                |watcher, state| {
                    let takes = watcher % 2 == 1;
                    if takes {
                        let seen = state.last_seen.map(Timestamp::unix_millis);
                        told.borrow_mut().push((*watcher, state.is_online, seen));
                    }
                    takes
                },
            );
        }
        std::mem::take(&mut self.told.borrow_mut())
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_is_told_every_two_seconds_at_most_and_the_newest_wins() {
    let mut world = World::default();
    assert_eq!(
        world.watch(1, &[("ada", true), ("eve", false)]),
        [false, false]
    );
    world.set("ada", true);
    world.set("eve", true);
    assert_eq!(world.tell(), [(1, true, None)]);
    for is_online in [false, true, false] {
        world.set("ada", is_online);
        assert_eq!(world.tell(), []);
    }
    advance(PAUSE).await;
    assert_eq!(world.tell(), [(1, false, Some(5))]);
    world.set("ada", true);
    world.set("ada", false);
    advance(PAUSE).await;
    assert_eq!(world.tell(), [], "it is as it was");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_shares_no_room_any_more_sees_the_user_leave_without_a_time() {
    let mut world = World::default();
    world.set("ada", true);
    assert_eq!(world.watch(1, &[("ada", true)]), [true]);
    let one = ConnectionId::new(1);
    world.watched.cover(one, &id("ada"), None);
    assert_eq!(world.tell(), [(1, false, None)]);
    world.set("ada", false);
    advance(PAUSE).await;
    assert_eq!(world.tell(), []);
    world.set("ada", true);
    world
        .watched
        .cover(one, &id("ada"), Some(Acquaintance::default()));
    assert_eq!(world.tell(), [(1, true, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_cannot_take_an_update_is_told_later() {
    let mut world = World::default();
    world.watch(2, &[("ada", true)]);
    world.set("ada", true);
    assert_eq!(world.tell(), []);
    assert_eq!(world.watched.next_look(), Some(Instant::now() + PAUSE));
    world.watched.unwatch(ConnectionId::new(2));
    assert_eq!(world.watched.counts(), (0, 0));
    advance(PAUSE).await;
    assert_eq!(world.watched.take_waiting(), None);
}

/// Connections come and go between two steps of a walk.
#[tokio::test(start_paused = true)]
async fn a_walk_in_steps_tells_every_connection_once() {
    let mut world = World::default();
    for watcher in [1, 3, 5, 7] {
        world.watch(watcher, &[("ada", true)]);
    }
    world.set("ada", true);
    let key = world.watched.take_waiting().unwrap();
    let mut told = Vec::new();
    let mut after = None;
    loop {
        let give = |watcher: &u64, _: &UserPresence| {
            told.push(*watcher);
            true
        };
        let step = world.watched.tell(key, after, 2, |_| true, give);
        if step.next.is_none() {
            break;
        }
        after = step.next;
        for gone in [1, 3] {
            world.watched.unwatch(ConnectionId::new(gone));
        }
    }
    assert_eq!(told, [1, 3, 5, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_new_list_replaces_the_old_one() {
    let mut world = World::default();
    world.watch(1, &[("ada", true), ("bob", true)]);
    world.watch(1, &[("bob", true), ("eve", true)]);
    assert_eq!(world.watched.counts(), (1, 2));
    for user in ["ada", "bob", "eve"] {
        world.set(user, true);
    }
    assert_eq!(world.tell().len(), 2);
    world.watched.membership_changed(&id("eve"));
    world.watched.membership_changed(&id("me"));
    world.watched.membership_changed(&id("ada"));
    let rechecks = &world.watched.rechecks;
    assert_eq!(
        (rechecks.connections.len(), rechecks.subjects.len()),
        (1, 1)
    );
}
