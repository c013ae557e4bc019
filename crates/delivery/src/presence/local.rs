//! The users of this node: those with a connection, and those whose last one has just ended.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use chat_domain::{DisplayName, Timestamp, User, UserId};
use tokio::time::Instant;

/// How long a user stays online after its last connection has ended. A client that reconnects
/// within ten seconds was never away; the rest is for the news from the node to which it does.
pub(super) const LINGER: Duration = Duration::from_millis(11_500);

/// The users of this node.
#[derive(Default)]
pub(super) struct Local {
    users: HashMap<UserId, Entry>,
    /// Users whose last connection has ended, in that order. Those that have come back since
    /// are in it, too.
    leaving: VecDeque<(Instant, UserId)>,
    /// What other nodes do not know yet: the newest of each user.
    changes: HashMap<UserId, Change>,
}

struct Entry {
    name: DisplayName,
    connections: u32,
    /// When the last connection ended, if none is left.
    left: Option<(Instant, Timestamp)>,
}

/// What has become of a user on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Came,
    /// It has gone, at this time if that may be known.
    Went(Option<Timestamp>),
}

/// A user that has gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) user: User,
    pub(super) at: Timestamp,
}

impl Local {
    pub(super) fn contains(&self, user_id: &UserId) -> bool {
        self.users.contains_key(user_id)
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Returns all users.
    pub(super) fn ids(&self) -> Vec<UserId> {
        self.users.keys().cloned().collect()
    }

    /// Adds a connection. Returns whether its user has just come online here.
    pub(super) fn connect(&mut self, user: &User) -> bool {
        if let Some(entry) = self.users.get_mut(&user.id) {
            entry.connections += 1;
            entry.left = None;
            entry.name.clone_from(&user.name);
            return false;
        }
        let entry = Entry {
            name: user.name.clone(),
            connections: 1,
            left: None,
        };
        self.users.insert(user.id.clone(), entry);
        self.changes.insert(user.id.clone(), Change::Came);
        true
    }

    /// Removes a connection. Its user stays online for a while.
    pub(super) fn disconnect(&mut self, user_id: &UserId, at: Timestamp) {
        let Some(entry) = self.users.get_mut(user_id) else {
            return;
        };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0 {
            let now = Instant::now();
            entry.left = Some((now, at));
            self.leaving.push_back((now, user_id.clone()));
        }
    }

    /// Removes a connection whose user must not be seen any more. If it has no other, it goes at
    /// once, and its absence has no time. Returns whether it has none.
    pub(super) fn hide(&mut self, user_id: &UserId, has_connection: bool) -> bool {
        if let Some(entry) = self.users.get_mut(user_id) {
            entry.connections -= u32::from(has_connection && entry.connections > 0);
            if entry.connections > 0 {
                return false;
            }
            self.users.remove(user_id);
        }
        self.changes.insert(user_id.clone(), Change::Went(None));
        true
    }

    /// Removes the users that have been away for long enough.
    pub(super) fn expire(&mut self) -> Vec<Gone> {
        let now = Instant::now();
        let mut gone = Vec::new();
        while let Some((left, _)) = self.leaving.front()
            && *left + LINGER <= now
            && let Some((left, user_id)) = self.leaving.pop_front()
        {
            let entry = self.users.get(&user_id);
            let Some((since, at)) = entry.and_then(|entry| entry.left) else {
                continue;
            };
            // It may have come back and left again.
            if since == left
                && let Some((id, entry)) = self.users.remove_entry(&user_id)
            {
                self.changes.insert(user_id, Change::Went(Some(at)));
                let user = User {
                    id,
                    name: entry.name,
                };
                gone.push(Gone { user, at });
            }
        }
        gone
    }

    /// Removes all users, when the node stops. Those that are still connected go now.
    pub(super) fn take_all(&mut self, now: Timestamp) -> Vec<Gone> {
        self.leaving.clear();
        let users = self.users.drain();
        users
            .map(|(id, entry)| Gone {
                at: entry.left.map_or(now, |(_, at)| at),
                user: User {
                    id,
                    name: entry.name,
                },
            })
            .collect()
    }

    /// Takes what other nodes do not know yet.
    pub(super) fn take_changes(&mut self) -> HashMap<UserId, Change> {
        std::mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn user(id: &str) -> User {
        User {
            id: UserId::new(id).unwrap(),
            name: DisplayName::from_text("x"),
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_is_away_some_time_after_its_last_connection_unless_it_comes_back() {
        let mut local = Local::default();
        let ada = user("ada");
        assert!(local.connect(&ada));
        assert!(!local.connect(&ada));
        local.disconnect(&ada.id, at(1));
        advance(LINGER).await;
        assert_eq!(local.expire(), [], "it has another connection");
        local.disconnect(&ada.id, at(2));
        advance(LINGER - Duration::from_millis(1)).await;
        assert_eq!(local.expire(), []);
        assert!(!local.connect(&ada), "it was never away");
        local.disconnect(&ada.id, at(3));
        advance(LINGER - Duration::from_millis(1)).await;
        assert_eq!(local.expire(), []);
        let before = local.take_changes();
        assert_eq!(before.get(&ada.id), Some(&Change::Came));
        advance(Duration::from_millis(1)).await;
        let gone = Gone {
            user: ada.clone(),
            at: at(3),
        };
        assert_eq!(local.expire(), [gone]);
        assert!(!local.contains(&ada.id) && local.leaving.is_empty());
        let changes = local.take_changes();
        assert_eq!(changes.get(&ada.id), Some(&Change::Went(Some(at(3)))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_that_becomes_invisible_goes_at_once_unless_another_connection_shows_it() {
        let mut local = Local::default();
        let ada = user("ada");
        local.connect(&ada);
        local.connect(&ada);
        assert!(!local.hide(&ada.id, true));
        assert!(local.hide(&ada.id, true));
        assert!(!local.contains(&ada.id));
        assert_eq!(local.take_changes().get(&ada.id), Some(&Change::Went(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_node_stops_its_users_have_left_by_then() {
        let mut local = Local::default();
        for id in ["ada", "bob"] {
            local.connect(&user(id));
        }
        local.disconnect(&user("ada").id, at(5));
        let mut gone = local.take_all(at(9));
        gone.sort_by(|one, other| one.user.id.cmp(&other.user.id));
        let times: Vec<_> = gone.iter().map(|gone| gone.at).collect();
        assert_eq!(times, [at(5), at(9)]);
    }
}
