//! When users were last seen, until it is stored.

use std::collections::HashMap;
use std::time::Duration;

use chat_domain::ports::LastSeen;
use chat_domain::{DisplayName, StorageError, Timestamp, UserId, one_line};
use tokio::time::{MissedTickBehavior, interval};

use super::{Presence, State};
use crate::lock;
use crate::recipient::Recipient;

/// How often it is stored.
const STORE_INTERVAL: Duration = Duration::from_secs(1);
/// How many users one batch has.
const USERS_AT_ONCE: usize = 1000;
/// For how many users it may wait: while the database is away, further ones are dropped.
const MAX_WAITING: usize = 200_000;

/// What is not stored yet: the newest of each user.
#[derive(Default)]
pub(super) struct SeenUsers(HashMap<UserId, (Option<DisplayName>, Option<Timestamp>)>);

impl SeenUsers {
    /// Notes when a user was last seen; `None` hides it.
    pub(super) fn note(
        &mut self,
        user_id: UserId,
        name: Option<DisplayName>,
        at: Option<Timestamp>,
    ) {
        if self.0.len() < MAX_WAITING || self.0.contains_key(&user_id) {
            self.0.insert(user_id, (name, at));
        }
    }

    fn take(&mut self) -> Vec<LastSeen> {
        let ids: Vec<_> = self.0.keys().take(USERS_AT_ONCE).cloned().collect();
        let taken = ids.into_iter().filter_map(|user_id| {
            let (name, at) = self.0.remove(&user_id)?;
            Some(LastSeen { user_id, name, at })
        });
        taken.collect()
    }

    fn put_back(&mut self, seen: Vec<LastSeen>) {
        for LastSeen { user_id, name, at } in seen {
            // What was noted since is newer.
            if !self.0.contains_key(&user_id) {
                self.note(user_id, name, at);
            }
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
            if let Err(error) = self.acquaintances.note_seen(&seen).await {
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
