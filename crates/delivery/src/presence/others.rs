//! The users of the other nodes, as far as this node has heard of them.
//!
//! Each node numbers what it says about its users. If a number is missing, or a node has just been
//! heard of, its users are unknown until it has sent all of them. A node that says nothing for
//! [`LIFETIME`] is dead, and its users with it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chat_domain::ports::{NodeName, PresenceNews};
use chat_domain::{Timestamp, UserId};
use tokio::time::Instant;

use super::local::Change;

/// How long a node may be silent. It is longer than a reconnect may take without being noticed, and
/// shorter than the 30 seconds within which the users of a dead node are offline.
const LIFETIME: Duration = Duration::from_secs(12);
/// How often a node is asked for its users.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many nodes and users of others are known at most: more must not cost memory. A user costs
/// about 80 bytes.
const MAX_NODES: usize = 1000;
const MAX_USERS: usize = 1_000_000;

/// The other nodes.
#[derive(Default)]
pub(super) struct Others {
    nodes: HashMap<NodeName, Node>,
    /// The users of all nodes, counted once for each node.
    users: usize,
}

struct Node {
    heard: Instant,
    heard_at: Timestamp,
    users: HashSet<UserId>,
    /// The number up to which the users are known.
    number: Option<u64>,
    /// The parts of a snapshot that have arrived.
    incoming: Option<Incoming>,
    asked: Option<Instant>,
}

struct Incoming {
    number: u64,
    next: u32,
    users: HashSet<UserId>,
}

/// What follows from what a node has said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Users that may have come or gone.
    pub(super) changes: Vec<(UserId, Change)>,
    /// The node has to be asked for all of its users.
    pub(super) must_ask: bool,
}

impl Others {
    pub(super) fn contains(&self, user_id: &UserId) -> bool {
        let mut nodes = self.nodes.values();
        nodes.any(|node| node.users.contains(user_id))
    }

    /// Returns the nodes that are alive.
    pub(super) fn names(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.keys()
    }

    pub(super) fn users(&self) -> usize {
        self.users
    }

    /// Takes in what a node says about its users.
    pub(super) fn receive(
        &mut self,
        from: &NodeName,
        now: Timestamp,
        news: PresenceNews,
    ) -> Outcome {
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(from) {
            return Outcome::default();
        }
        let heard = Instant::now();
        let node = self.nodes.entry(from.clone()).or_insert_with(|| Node {
            heard,
            heard_at: now,
            users: HashSet::new(),
            number: None,
            incoming: None,
            asked: None,
        });
        (node.heard, node.heard_at) = (heard, now);
        let before = node.users.len();
        let space = MAX_USERS.saturating_sub(self.users - before);
        let mut outcome = Outcome::default();
        match news {
            PresenceNews::Changes { number, came, went } => {
                let is_next = match came.is_empty() && went.is_empty() {
                    true => node.number == Some(number),
                    false => node.number.is_some_and(|known| known + 1 == number),
                };
                if is_next {
                    node.number = Some(number);
                    node.apply(came, went, space, &mut outcome.changes);
                } else {
                    node.number = None;
                    node.incoming = None;
                    outcome.must_ask = node.must_ask(heard);
                }
            }
            PresenceNews::Snapshot {
                number,
                part,
                parts,
                users,
            } => node.take_part(number, (part, parts), users, space, &mut outcome.changes),
            PresenceNews::Wanted { .. }
            | PresenceNews::Question { .. }
            | PresenceNews::Answer { .. } => {
                outcome.must_ask = node.number.is_none() && node.must_ask(heard);
            }
        }
        self.users = self.users - before + node.users.len();
        outcome
    }

    /// Removes the nodes that are dead. Returns their users, and when they were last heard of.
    pub(super) fn expire(&mut self) -> Vec<(UserId, Timestamp)> {
        let mut gone = Vec::new();
        self.nodes.retain(|_, node| {
            let is_alive = node.heard.elapsed() < LIFETIME;
            if !is_alive {
                let users = std::mem::take(&mut node.users);
                self.users -= users.len();
                gone.extend(users.into_iter().map(|user_id| (user_id, node.heard_at)));
            }
            is_alive
        });
        gone
    }
}

impl Node {
    fn must_ask(&mut self, now: Instant) -> bool {
        if self.asked.is_some_and(|asked| now < asked + PATIENCE) {
            return false;
        }
        self.asked = Some(now);
        true
    }

    fn apply(
        &mut self,
        came: Vec<UserId>,
        went: Vec<(UserId, Option<Timestamp>)>,
        space: usize,
        changes: &mut Vec<(UserId, Change)>,
    ) {
        for (user_id, at) in went {
            self.users.remove(&user_id);
            // Also if it was not here: it may be hidden from now on.
            changes.push((user_id, Change::Went(at)));
        }
        for user_id in came {
            if self.users.len() < space && self.users.insert(user_id.clone()) {
                changes.push((user_id, Change::Came));
            }
        }
    }

    fn take_part(
        &mut self,
        number: u64,
        (part, parts): (u32, u32),
        users: Vec<UserId>,
        space: usize,
        changes: &mut Vec<(UserId, Change)>,
    ) {
        if part == 0 {
            self.incoming = Some(Incoming {
                number,
                next: 0,
                users: HashSet::new(),
            });
        }
        let is_next = |incoming: &Incoming| incoming.number == number && incoming.next == part;
        let Some(mut incoming) = self.incoming.take().filter(is_next) else {
            return;
        };
        let space = space.saturating_sub(incoming.users.len());
        incoming.users.extend(users.into_iter().take(space));
        incoming.next += 1;
        if incoming.next < parts {
            self.incoming = Some(incoming);
            return;
        }
        let before = std::mem::replace(&mut self.users, incoming.users);
        self.number = Some(number);
        self.asked = None;
        let went = before
            .iter()
            .filter(|user_id| !self.users.contains(*user_id));
        let at = Change::Went(Some(self.heard_at));
        changes.extend(went.map(|user_id| (user_id.clone(), at)));
        let came = self
            .users
            .iter()
            .filter(|user_id| !before.contains(*user_id));
        changes.extend(came.map(|user_id| (user_id.clone(), Change::Came)));
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn id(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    fn changes(number: u64, came: &[&str], went: &[&str]) -> PresenceNews {
        PresenceNews::Changes {
            number,
            came: came.iter().map(|user| id(user)).collect(),
            went: went.iter().map(|user| (id(user), Some(at(7)))).collect(),
        }
    }

    fn part(number: u64, part: u32, parts: u32, users: &[&str]) -> PresenceNews {
        PresenceNews::Snapshot {
            number,
            part,
            parts,
            users: users.iter().map(|user| id(user)).collect(),
        }
    }

    fn receive(others: &mut Others, node: &str, news: PresenceNews) -> Outcome {
        others.receive(&NodeName::new(node), at(1), news)
    }

    fn nothing(must_ask: bool) -> Outcome {
        Outcome {
            changes: Vec::new(),
            must_ask,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_users_of_a_node_are_known_after_a_snapshot_and_followed_by_numbers() {
        let mut others = Others::default();
        assert_eq!(
            receive(&mut others, "b", changes(4, &["x"], &[])),
            nothing(true)
        );
        // It was asked a moment ago.
        assert_eq!(
            receive(&mut others, "b", changes(4, &[], &[])),
            nothing(false)
        );
        assert_eq!(
            receive(&mut others, "b", part(4, 0, 2, &["ada"])),
            nothing(false)
        );
        assert!(!others.contains(&id("ada")));
        let complete = receive(&mut others, "b", part(4, 1, 2, &["bob"]));
        assert_eq!(complete.changes.len(), 2);
        assert!(others.contains(&id("ada")) && others.contains(&id("bob")));
        let next = receive(&mut others, "b", changes(5, &["eve"], &["ada"]));
        let expected = vec![
            (id("ada"), Change::Went(Some(at(7)))),
            (id("eve"), Change::Came),
        ];
        assert_eq!(next.changes, expected);
        assert_eq!(
            receive(&mut others, "b", changes(5, &[], &[])),
            nothing(false)
        );
        assert_eq!(others.users(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_number_asks_for_all_users_and_keeps_those_that_are_known() {
        let mut others = Others::default();
        receive(&mut others, "b", part(1, 0, 1, &["ada", "bob"]));
        for lost in [changes(3, &["eve"], &[]), changes(2, &[], &[])] {
            assert_eq!(receive(&mut others, "b", lost), nothing(true));
            assert!(others.contains(&id("ada")));
            advance(PATIENCE).await;
        }
        let found = receive(&mut others, "b", part(3, 0, 1, &["bob", "eve"]));
        let expected = vec![
            (id("ada"), Change::Went(Some(at(1)))),
            (id("eve"), Change::Came),
        ];
        assert_eq!(found.changes, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_with_a_missing_part_is_dropped() {
        let mut others = Others::default();
        receive(&mut others, "b", part(1, 0, 3, &["ada"]));
        receive(&mut others, "b", part(1, 2, 3, &["bob"]));
        assert_eq!(others.users(), 0);
        receive(&mut others, "b", part(1, 1, 2, &["bob"]));
        assert_eq!(others.users(), 0);
        receive(&mut others, "b", part(1, 0, 1, &["eve"]));
        assert!(others.contains(&id("eve")) && others.users() == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_node_is_dead_and_its_users_with_it() {
        let mut others = Others::default();
        receive(&mut others, "b", part(1, 0, 1, &["ada"]));
        receive(&mut others, "c", part(1, 0, 1, &["ada", "bob"]));
        advance(LIFETIME - Duration::from_millis(1)).await;
        receive(&mut others, "b", changes(1, &[], &[]));
        assert_eq!(others.expire(), []);
        advance(Duration::from_millis(1)).await;
        let mut gone = others.expire();
        gone.sort();
        assert_eq!(gone, [(id("ada"), at(1)), (id("bob"), at(1))]);
        assert!(others.contains(&id("ada")), "on another node");
        assert_eq!(others.names().count(), 1);
        assert_eq!(others.users(), 1);
    }
}
