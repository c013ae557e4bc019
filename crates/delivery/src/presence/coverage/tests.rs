use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use chat_domain::ports::MockAcquaintances;
use chat_domain::{DisplayName, Identity, RoomId, User, Visibility};
use tokio::time::advance;

use super::*;
use crate::presence::departures::Departures;
use crate::presence::exchanging::Exchanging;
use crate::presence::local::Local;
use crate::presence::others::Others;
use crate::presence::seen::SeenUsers;
use crate::presence::watched::Watched;

const ADA: &str = "ada";

fn id(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn only(room: u64) -> RoomAccess {
    RoomAccess::Only(BTreeSet::from([RoomId::new(room).unwrap()]))
}

/// Connections 1, 2 … that watch Ada, and see her online.
struct World {
    state: Mutex<State<()>>,
    queries: Arc<AtomicUsize>,
    acquaintances: MockAcquaintances,
}

impl World {
    /// `shares` says who shares a room with Ada that a token allows.
    fn new(
        watchers: impl IntoIterator<Item = RoomAccess>,
        shares: fn(&UserId, &RoomAccess) -> bool,
    ) -> Self {
        let mut watched = Watched::default();
        for (rooms, n) in watchers.into_iter().zip(1..) {
            let identity = Identity {
                grants: None,
                user: User {
                    id: id(&format!("user-{n}")),
                    name: DisplayName::from_text("x"),
                },
                rooms,
                visibility: Visibility::Visible,
                issued_at: None,
                expires_at: Timestamp::from_unix_millis(0),
                valid_until: Timestamp::from_unix_millis(0),
            };
            let found = vec![(id(ADA), Some(Acquaintance::default()))];
            let connection = ConnectionId::new(n);
            watched.watch(connection, Arc::new(()), Arc::new(identity), found, |_| {
                true
            });
        }
        let queries = Arc::new(AtomicUsize::new(0));
        let mut acquaintances = MockAcquaintances::new();
        let counted = queries.clone();
        acquaintances
            .expect_among()
            .returning(move |user_id, access, others| {
                assert_eq!(*user_id, id(ADA));
                counted.fetch_add(1, Ordering::Relaxed);
                let found = others.iter().map(|other| {
                    let shares = *other == id(ADA) || shares(other, access);
                    shares.then(Acquaintance::default)
                });
                Ok(found.collect())
            });
        Self {
            state: Mutex::new(State {
                local: Local::default(),
                others: Others::default(),
                watched,
                departures: Departures::default(),
                seen: SeenUsers::default(),
                exchanging: Exchanging::default(),
            }),
            queries,
            acquaintances,
        }
    }

    /// Ada's memberships change. Returns how many queries that takes at once.
    async fn change(&self) -> usize {
        lock(&self.state).watched.membership_changed(&id(ADA));
        self.read_due().await
    }

    /// Reads what is due, and returns in how many queries.
    async fn read_due(&self) -> usize {
        let before = self.queries.load(Ordering::Relaxed);
        loop {
            let recheck = lock(&self.state).watched.rechecks.take();
            match recheck {
                Some(Recheck::Subject(key)) => {
                    let read = recheck_subject(&self.state, &self.acquaintances, key);
                    read.await.unwrap();
                }
                Some(Recheck::Group(key, group)) => {
                    let read = recheck_group(&self.state, &self.acquaintances, key, &group);
                    read.await.unwrap();
                }
                Some(Recheck::Connection(_)) => unreachable!("none has to be read"),
                None => return self.queries.load(Ordering::Relaxed) - before,
            }
        }
    }

    /// Returns how many connections are told that Ada is online, or is not.
    fn told(&self, is_online: bool) -> usize {
        let watched = &mut lock(&self.state).watched;
        watched.note(&id(ADA), None);
        let mut told = 0;
        while let Some(key) = watched.take_waiting() {
            let tell = watched.tell(key, None, 10_000, |_| is_online, |(), _| true);
            told += tell.packets;
        }
        told
    }
}

#[tokio::test(start_paused = true)]
async fn watchers_that_share_no_room_at_all_cost_one_query_whatever_their_tokens_name() {
    let world = World::new((1..=1000).map(only), |_, _| false);
    assert_eq!(world.change().await, 1);
    assert_eq!(world.told(true), 1000, "they see her leave");
    assert!(lock(&world.state).watched.rechecks.groups.is_empty());
}

#[tokio::test(start_paused = true)]
async fn tokens_that_name_the_same_rooms_are_compared_in_one_query() {
    let tokens = (0..1000).map(|n| only(n % 2 + 1));
    let world = World::new(tokens, |_, access| *access != only(2));
    assert_eq!(world.change().await, 2 + 2);
    assert_eq!(world.told(true), 500);
}

#[tokio::test(start_paused = true)]
async fn many_different_tokens_take_turns_and_are_told_nothing_meanwhile() {
    let world = World::new((1..=100).map(only), |_, access| *access != only(1));
    let at_once = world.change().await - 2;
    assert!((20..=21).contains(&at_once), "{at_once}");
    let told = world.told(false);
    assert!((19..=21).contains(&told), "{told}");
    // Those that wait keep their turns.
    assert_eq!(world.change().await, 2);
    for _ in 0..10 {
        advance(Duration::from_millis(500)).await;
        assert!(world.read_due().await <= 11);
    }
    assert!(lock(&world.state).watched.rechecks.groups.is_empty());
    assert_eq!(told + world.told(false), 100);
}
