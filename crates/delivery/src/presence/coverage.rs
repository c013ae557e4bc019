//! Which watchers share a room with the users whom they watch: read again when memberships change.
//!
//! The changes that [reconciliation](crate::Rooms::reconcile) reads twice a second say whose
//! membership has changed on any node. So a watcher is told nothing more about a user a second
//! after they share no room any more.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_domain::ports::{Acquaintance, Acquaintances, Changes, MemberPart};
use chat_domain::{ConnectionId, RoomAccess, StorageError, Timestamp, UserId, one_line};
use tokio::time::{Instant, sleep, timeout_at};

use super::watched::{Group, Key};
use super::{Presence, State};
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
    Group(Key, Group),
}

/// Coverage that has to be read again, because memberships have changed.
#[derive(Default)]
pub(super) struct Rechecks {
    /// All that these connections watch.
    pub(super) connections: BTreeSet<ConnectionId>,
    /// All connections that watch these users.
    pub(super) subjects: BTreeSet<Key>,
    /// Some of those that watch a user, by when they are read, the user, and the first of them.
    pub(super) groups: BTreeMap<(Instant, Key, ConnectionId), Group>,
    /// Every other time, groups go first: they must not wait for ever.
    is_turn_of_groups: bool,
    /// Connections that have begun to watch: what they were told may be older than a change
    /// that was reported before.
    pub(super) later: VecDeque<(Instant, ConnectionId)>,
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
        self.is_turn_of_groups = !self.is_turn_of_groups;
        if self.is_turn_of_groups
            && let Some(group) = self.take_group()
        {
            return Some(group);
        }
        let connection = self.connections.pop_first().map(Recheck::Connection);
        connection
            .or_else(|| self.subjects.pop_first().map(Recheck::Subject))
            .or_else(|| self.take_group())
    }

    fn take_group(&mut self) -> Option<Recheck> {
        let ((due, ..), _) = self.groups.first_key_value()?;
        if *due > Instant::now() {
            return None;
        }
        let ((_, key, _), group) = self.groups.pop_first()?;
        Some(Recheck::Group(key, group))
    }

    /// Returns when there is something to read, if all else waits.
    fn next(&self) -> Option<Instant> {
        let later = self.later.front().map(|(due, _)| *due);
        let group = self.groups.first_key_value().map(|((due, ..), _)| *due);
        later.into_iter().chain(group).min()
    }

    /// Has a group read at that time.
    pub(super) fn queue(&mut self, due: Instant, key: Key, group: Group) {
        if let Some(first) = group.connections.first() {
            self.groups.insert((due, key, *first), group);
        }
    }

    fn put_back(&mut self, recheck: Recheck) {
        match recheck {
            Recheck::Connection(id) => drop(self.connections.insert(id)),
            Recheck::Subject(key) => drop(self.subjects.insert(key)),
            Recheck::Group(key, group) => self.queue(Instant::now(), key, group),
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
                (rechecks.take(), rechecks.next())
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
                Recheck::Subject(key) => {
                    recheck_subject(&self.state, &*self.acquaintances, *key).await
                }
                Recheck::Group(key, group) => {
                    recheck_group(&self.state, &*self.acquaintances, *key, group).await
                }
            };
            self.has_news.notify_one();
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
        Ok(())
    }
}

/// Reads again who of the connections that watch a user shares a room with it.
///
/// To share a room is mutual: one query finds it for all of them, as if every token allowed every
/// room. Of those that do share one, the tokens that name rooms have to be compared with it: they
/// are queued, those that name the same rooms together.
async fn recheck_subject<R>(
    state: &Mutex<State<R>>,
    acquaintances: &dyn Acquaintances,
    key: Key,
) -> Result<(), StorageError> {
    let watchers = lock(state).watched.watchers_of(key);
    let Some((subject, watchers)) = watchers else {
        return Ok(());
    };
    let mut is_seen = false;
    let mut groups: HashMap<&RoomAccess, Vec<ConnectionId>> = HashMap::new();
    for watchers in watchers.chunks(USERS_AT_ONCE) {
        let users = watchers
            .iter()
            .map(|(_, identity)| identity.user.id.clone());
        let users: Vec<UserId> = users.collect();
        let all = RoomAccess::All;
        let found = acquaintances.among(&subject, &all, &users).await?;
        // What was read is when the watchers were last seen.
        if !is_seen && found.iter().any(Option::is_some) {
            is_seen = true;
            let last_seen = last_seen(acquaintances, &subject).await?;
            lock(state).watched.seen(key, last_seen);
        }
        let mut decided = Vec::with_capacity(watchers.len());
        for ((id, identity), found) in watchers.iter().zip(found) {
            match (&identity.rooms, found) {
                (access @ RoomAccess::Only(_), Some(_)) => {
                    groups.entry(access).or_default().push(*id);
                }
                (_, found) => decided.push((*id, found.map(|_| Acquaintance::default()))),
            }
        }
        let mut state = lock(state);
        for (id, found) in decided {
            state.watched.cover(id, &subject, found);
        }
    }
    for (access, connections) in groups {
        let access = access.clone();
        let group = Group {
            access,
            connections,
        };
        lock(state).watched.queue(key, group);
    }
    Ok(())
}

/// Reads again whether these connections, which watch a user under tokens that name the same rooms,
/// share one of those with it.
async fn recheck_group<R>(
    state: &Mutex<State<R>>,
    acquaintances: &dyn Acquaintances,
    key: Key,
    group: &Group,
) -> Result<(), StorageError> {
    let Some((subject, watchers)) = lock(state).watched.still_watching(key, group) else {
        return Ok(());
    };
    for watchers in watchers.chunks(USERS_AT_ONCE) {
        let users = watchers
            .iter()
            .map(|(_, identity)| identity.user.id.clone());
        let users: Vec<UserId> = users.collect();
        let found = acquaintances.among(&subject, &group.access, &users).await?;
        let mut state = lock(state);
        for ((id, _), found) in watchers.iter().zip(found) {
            let found = found.map(|_| Acquaintance::default());
            state.watched.cover(*id, &subject, found);
        }
    }
    Ok(())
}

/// Returns when a user was last seen. One with membership of a room shares it with itself.
async fn last_seen(
    acquaintances: &dyn Acquaintances,
    user_id: &UserId,
) -> Result<Option<Timestamp>, StorageError> {
    let one = std::slice::from_ref(user_id);
    let among = acquaintances.among(user_id, &RoomAccess::All, one);
    let own = among.await?.first().copied().flatten();
    Ok(own.and_then(|own| own.last_seen))
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

#[cfg(test)]
mod tests;
