//! When users were last seen, until it is stored.

use std::collections::HashMap;
use std::time::Duration;

use chat_domain::ports::LastSeen;
use chat_domain::{DisplayName, StorageError, Timestamp, UserId, one_line};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Presence, State};
use crate::lock;
use crate::recipient::Recipient;

/// How often it is stored.
const STORE_INTERVAL: Duration = Duration::from_secs(1);
/// How many users one batch has.
const USERS_AT_ONCE: usize = 1000;
/// For how long a user that is not stored may become stored by its visit: the erasure of a user is over
/// later than that.
const MAY_CREATE: Duration = Duration::from_secs(5);
/// For how many users it may wait: while the database is away, further ones are dropped.
const MAX_WAITING: usize = 200_000;

/// What is not stored yet: the newest of each user.
#[derive(Default)]
pub(super) struct SeenUsers(HashMap<UserId, Visit>);

struct Visit {
    name: Option<DisplayName>,
    at: Option<Timestamp>,
    noted: Instant,
}

impl SeenUsers {
    /// Notes when a user was last seen; `None` hides it.
    pub(super) fn note(
        &mut self,
        user_id: UserId,
        name: Option<DisplayName>,
        at: Option<Timestamp>,
    ) {
        let noted = Instant::now();
        self.insert(user_id, Visit { name, at, noted });
    }

    fn insert(&mut self, user_id: UserId, visit: Visit) {
        if self.0.len() < MAX_WAITING || self.0.contains_key(&user_id) {
            self.0.insert(user_id, visit);
        }
    }

    fn take(&mut self) -> Vec<(UserId, Visit)> {
        let ids: Vec<_> = self.0.keys().take(USERS_AT_ONCE).cloned().collect();
        let taken = ids.into_iter();
        taken.filter_map(|id| self.0.remove_entry(&id)).collect()
    }

    fn put_back(&mut self, seen: Vec<(UserId, Visit)>) {
        for (user_id, visit) in seen {
            // What was noted since is newer.
            if !self.0.contains_key(&user_id) {
                self.insert(user_id, visit);
            }
        }
    }
}

impl Visit {
    fn of(&self, user_id: &UserId) -> LastSeen {
        let may_create = self.noted.elapsed() < MAY_CREATE;
        LastSeen {
            user_id: user_id.clone(),
            name: self.name.clone().filter(|_| may_create),
            at: self.at,
        }
    }
}

impl<R: Recipient> Presence<R> {
    pub(super) async fn store_seen(&self) {
        let mut ticks = interval(STORE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.store_waiting().await {
                tracing::debug!(error = %one_line(&error), "last visits cannot be stored");
            }
        }
    }

    async fn store_waiting(&self) -> Result<(), StorageError> {
        loop {
            let seen = lock(&self.state).seen.take();
            if seen.is_empty() {
                return Ok(());
            }
            let visits: Vec<_> = seen.iter().map(|(id, visit)| visit.of(id)).collect();
            if let Err(error) = self.acquaintances.note_seen(&visits).await {
                lock(&self.state).seen.put_back(seen);
                return Err(error);
            }
        }
    }

    /// Stores when the users of this node were last seen, because it stops.
    ///
    /// # Errors
    /// Those of [`Acquaintances::note_seen`](chat_domain::ports::Acquaintances::note_seen).
    pub async fn stop(&self) -> Result<(), StorageError> {
        self.take_all();
        self.store_waiting().await
    }

    fn take_all(&self) {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        let State {
            local,
            others,
            seen,
            exchanging,
            ..
        } = &mut *state;
        // To the others, the users stay for as long as a reconnect may take.
        exchanging.stop();
        for gone in local.take_all(now) {
            if !others.contains(&gone.user.id) {
                seen.note(gone.user.id, Some(gone.user.name), Some(gone.at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_visit_that_could_not_be_stored_creates_no_user_later() {
        let user_id = UserId::new("42").unwrap();
        let name = DisplayName::from_text("Ada");
        let at = Timestamp::from_unix_millis(1);
        let mut seen = SeenUsers::default();
        seen.note(user_id.clone(), Some(name.clone()), Some(at));
        for expected in [Some(name), None] {
            let taken = seen.take();
            let [(id, visit)] = &taken[..] else {
                panic!("one visit");
            };
            let visit = visit.of(id);
            assert_eq!((visit.name, visit.at), (expected, Some(at)));
            seen.put_back(taken);
            tokio::time::advance(MAY_CREATE).await;
        }
    }
}
