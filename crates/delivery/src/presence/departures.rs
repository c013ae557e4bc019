//! When users have gone, until every node can read it from the database.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use chat_domain::{Timestamp, UserId};
use tokio::time::Instant;

/// For how long a departure is known here. By then it is stored, unless the database fails.
const LIFETIME: Duration = Duration::from_secs(10);
/// How many are known at most; a client may be told an earlier time, or none, of the others.
const MAX: usize = 200_000;

/// The users that have gone lately, on whichever node.
#[derive(Default)]
pub(super) struct Departures {
    users: HashMap<UserId, (Instant, Timestamp)>,
    /// In the order in which they have gone. Those that were forgotten since are in it, too.
    order: VecDeque<(Instant, UserId)>,
}

impl Departures {
    /// Notes when a user has gone.
    pub(super) fn note(&mut self, user_id: &UserId, at: Timestamp) {
        self.expire();
        if self.order.len() < MAX {
            let now = Instant::now();
            self.users.insert(user_id.clone(), (now, at));
            self.order.push_back((now, user_id.clone()));
        }
    }

    /// Forgets a user: when it has gone must not be known.
    pub(super) fn forget(&mut self, user_id: &UserId) {
        self.users.remove(user_id);
    }

    /// Returns when a user has gone, if it was lately.
    pub(super) fn of(&self, user_id: &UserId) -> Option<Timestamp> {
        self.users.get(user_id).map(|(_, at)| *at)
    }

    /// Forgets those that are stored by now.
    pub(super) fn expire(&mut self) {
        while let Some((noted, _)) = self.order.front()
            && noted.elapsed() >= LIFETIME
            && let Some((noted, user_id)) = self.order.pop_front()
        {
            // It may have come back and gone again.
            if self.users.get(&user_id).is_some_and(|(of, _)| *of == noted) {
                self.users.remove(&user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_departure_is_known_until_it_is_stored_or_must_not_be_known() {
        let [ada, bob] = ["ada", "bob"].map(|id| UserId::new(id).unwrap());
        let at = Timestamp::from_unix_millis;
        let mut departures = Departures::default();
        departures.note(&ada, at(1));
        departures.note(&bob, at(2));
        departures.forget(&bob);
        assert_eq!(
            (departures.of(&ada), departures.of(&bob)),
            (Some(at(1)), None)
        );
        advance(LIFETIME / 2).await;
        departures.note(&ada, at(3));
        advance(LIFETIME / 2).await;
        departures.expire();
        assert_eq!(departures.of(&ada), Some(at(3)));
        advance(LIFETIME / 2).await;
        departures.expire();
        assert_eq!(departures.of(&ada), None);
        assert!(departures.users.is_empty() && departures.order.is_empty());
    }
}
