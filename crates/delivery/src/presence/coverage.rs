//! Which watchers share a room with the users whom they watch: read again when memberships change.
//!
//! The changes that [reconciliation](crate::Rooms::reconcile) reads twice a second say whose
//! membership has changed on any node. So a watcher is told nothing more about a user a second
//! after they share no room any more.

use std::sync::Arc;
use std::time::Duration;

use chat_domain::ports::{Changes, MemberPart};
use chat_domain::{ConnectionId, RoomAccess, StorageError, UserId, one_line};
use tokio::time::{Instant, sleep, timeout_at};

use super::Presence;
use super::watched::{Key, Rechecks};
use crate::lock;
use crate::recipient::Recipient;
use crate::watching::ChangesListener;

/// After how long that which a connection has just been told is compared with what was reported
/// meanwhile: two reports.
const REPORTED_BY_THEN: Duration = Duration::from_millis(1200);
/// After how long memberships are read again that could not be read.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How many users one query looks up.
const USERS_AT_ONCE: usize = 1000;

/// What is read again.
enum Recheck {
    Connection(ConnectionId),
    Subject(Key),
}

impl Rechecks {
    /// Notes that a connection has begun to watch.
    pub(super) fn begun(&mut self, id: ConnectionId) {
        self.later
            .push_back((Instant::now() + REPORTED_BY_THEN, id));
    }

    fn take(&mut self) -> Option<Recheck> {
        while let Some((due, _)) = self.later.front()
            && *due <= Instant::now()
            && let Some((_, id)) = self.later.pop_front()
        {
            self.connections.insert(id);
        }
        let connection = self.connections.pop_first().map(Recheck::Connection);
        connection.or_else(|| self.subjects.pop_first().map(Recheck::Subject))
    }

    fn put_back(&mut self, recheck: Recheck) {
        match recheck {
            Recheck::Connection(id) => drop(self.connections.insert(id)),
            Recheck::Subject(key) => drop(self.subjects.insert(key)),
        }
    }
}

impl<R: Recipient> Presence<R> {
    /// Reads coverage again that may have changed.
    pub(super) async fn recheck(&self) {
        loop {
            let (recheck, next) = {
                let mut state = lock(&self.state);
                let rechecks = &mut state.watched.rechecks;
                (rechecks.take(), rechecks.later.front().map(|(due, _)| *due))
            };
            let Some(recheck) = recheck else {
                let work = self.must_recheck.notified();
                match next {
                    Some(next) => drop(timeout_at(next, work).await),
                    None => work.await,
                }
                continue;
            };
            let read = match &recheck {
                Recheck::Connection(id) => self.recheck_connection(*id).await,
                Recheck::Subject(key) => self.recheck_subject(*key).await,
            };
            if let Err(error) = read {
                tracing::debug!(error = %one_line(&error), "shared rooms cannot be read");
                lock(&self.state).watched.rechecks.put_back(recheck);
                sleep(RETRY_INTERVAL).await;
            }
        }
    }

    async fn recheck_connection(&self, id: ConnectionId) -> Result<(), StorageError> {
        let watched = lock(&self.state).watched.watched_by(id);
        let Some((identity, users)) = watched else {
            return Ok(());
        };
        let (user_id, access) = (&identity.user.id, &identity.rooms);
        for users in users.chunks(USERS_AT_ONCE) {
            let found = self.acquaintances.among(user_id, access, users).await?;
            let mut state = lock(&self.state);
            for (user_id, found) in users.iter().zip(found) {
                state.watched.cover(id, user_id, found);
            }
        }
        self.has_news.notify_one();
        Ok(())
    }

    /// To share a room is mutual: one query finds it for all watchers of a user whose tokens allow
    /// every room.
    async fn recheck_subject(&self, key: Key) -> Result<(), StorageError> {
        let watchers = lock(&self.state).watched.watchers_of(key);
        let Some((subject, watchers)) = watchers else {
            return Ok(());
        };
        let (everywhere, elsewhere): (Vec<_>, Vec<_>) = watchers
            .into_iter()
            .partition(|(_, identity)| identity.rooms == RoomAccess::All);
        for watchers in everywhere.chunks(USERS_AT_ONCE) {
            let users = watchers
                .iter()
                .map(|(_, identity)| identity.user.id.clone());
            let users: Vec<UserId> = users.collect();
            let all = RoomAccess::All;
            let found = self.acquaintances.among(&subject, &all, &users).await?;
            let shares = found.iter().any(Option::is_some);
            // What was read is when the watchers were last seen.
            let own = match shares {
                true => self.last_seen(&subject).await?,
                false => None,
            };
            let mut state = lock(&self.state);
            for ((id, _), found) in watchers.iter().zip(found) {
                let found = found.map(|_| own.unwrap_or_default());
                state.watched.cover(*id, &subject, found);
            }
        }
        for (id, identity) in elsewhere {
            let (user_id, access) = (&identity.user.id, &identity.rooms);
            let one = std::slice::from_ref(&subject);
            let found = self.acquaintances.among(user_id, access, one).await?;
            let found = found.first().copied().flatten();
            lock(&self.state).watched.cover(id, &subject, found);
        }
        self.has_news.notify_one();
        Ok(())
    }

    /// A user with membership of a room shares it with itself.
    async fn last_seen(
        &self,
        user_id: &UserId,
    ) -> Result<Option<chat_domain::ports::Acquaintance>, StorageError> {
        let one = std::slice::from_ref(user_id);
        let among = self.acquaintances.among(user_id, &RoomAccess::All, one);
        Ok(among.await?.first().copied().flatten())
    }
}

impl<R: Recipient> ChangesListener for Presence<R> {
    fn changed(&self, changes: &Changes) {
        let mut state = lock(&self.state);
        if changes.rooms.is_none() {
            state.watched.memberships_unknown();
        }
        let members = changes.members.iter();
        for member in members.filter(|member| member.part == MemberPart::Membership) {
            state.watched.membership_changed(&member.user_id);
        }
        drop(state);
        self.must_recheck.notify_one();
    }
}

/// Several listeners.
impl ChangesListener for Vec<Arc<dyn ChangesListener>> {
    fn changed(&self, changes: &Changes) {
        for listener in self {
            listener.changed(changes);
        }
    }
}
