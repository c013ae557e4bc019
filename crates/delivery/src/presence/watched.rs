//! The users that connections of this node watch, and what they were told.
//!
//! A watched user costs about 32 bytes per connection: what the connection was told, and the
//! user's key in the connection's list.

mod groups;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use chat_domain::ports::Acquaintance;
use chat_domain::{ConnectionId, Identity, Timestamp, UserId};
use tokio::time::Instant;

pub(super) use self::groups::Group;
use self::groups::Turns;
use super::coverage::Rechecks;

/// The minimum time between two updates about one user.
const PAUSE: Duration = Duration::from_secs(2);

/// Identifies a watched user; it is not used again.
pub(super) type Key = u64;

/// Everything that is watched on this node.
pub(super) struct Watched<R> {
    watchers: HashMap<ConnectionId, Watcher<R>>,
    /// The watching connections of each user.
    by_user: HashMap<UserId, Vec<ConnectionId>>,
    subjects: HashMap<Key, Subject>,
    keys: HashMap<UserId, Key>,
    /// Subjects about whom watchers may have to be told something, and those for whom it is too
    /// early.
    waiting: VecDeque<Key>,
    paced: BTreeSet<(Instant, Key)>,
    pub(super) rechecks: Rechecks,
    next_key: Key,
}

/// A connection that watches.
struct Watcher<R> {
    recipient: Arc<R>,
    identity: Arc<Identity>,
    subjects: Vec<Key>,
}

/// A user that is watched.
struct Subject {
    id: UserId,
    /// The connections that watch it, in an order in which a walk can go on where it was.
    watching: BTreeMap<ConnectionId, View>,
    last_seen: Option<Timestamp>,
    told: Option<Instant>,
    is_waiting: bool,
    /// When the connections whose tokens name rooms are read again.
    turns: Turns,
}

/// How a connection sees a user that it watches.
#[derive(Clone, Copy)]
struct View {
    /// Whether both users share a room.
    is_covered: bool,
    /// Whether the connection was told that the user is online.
    is_online: bool,
    /// Whether it has to be read again if they do: until then, nothing is told.
    is_doubtful: bool,
}

/// A connection, and what its token states.
pub(super) type IdentifiedConnection = (ConnectionId, Arc<Identity>);

/// How a user appears to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPresence {
    /// The user.
    pub user_id: UserId,
    /// Whether it is online.
    pub is_online: bool,
    /// When it was last seen, if it is not online and that may be known.
    pub last_seen: Option<Timestamp>,
}

/// What was told about a user.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) packets: usize,
    /// The last connection, if there are further ones.
    pub(super) next: Option<ConnectionId>,
}

impl<R> Default for Watched<R> {
    fn default() -> Self {
        Self {
            watchers: HashMap::new(),
            by_user: HashMap::new(),
            subjects: HashMap::new(),
            keys: HashMap::new(),
            waiting: VecDeque::new(),
            paced: BTreeSet::new(),
            rechecks: Rechecks::default(),
            next_key: 0,
        }
    }
}

impl<R> Watched<R> {
    /// Returns how many connections watch, and how many users they watch.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.watchers.len(), self.subjects.len())
    }

    /// Lets a connection watch these users instead of those before. Those of whom `found` states
    /// something share a room with its user. Returns how they appear, which the connection has to
    /// be told before anything else.
    pub(super) fn watch(
        &mut self,
        id: ConnectionId,
        recipient: Arc<R>,
        identity: Arc<Identity>,
        found: Vec<(UserId, Option<Acquaintance>)>,
        is_online: impl Fn(&UserId) -> bool,
    ) -> Vec<UserPresence> {
        self.unwatch(id);
        let mut keys = Vec::with_capacity(found.len());
        let mut states = Vec::with_capacity(found.len());
        for (user_id, found) in found {
            let key = self.key(&user_id);
            let is_online = found.is_some() && is_online(&user_id);
            if let Some(subject) = self.subjects.get_mut(&key) {
                if let Some(found) = found {
                    subject.last_seen = subject.last_seen.max(found.last_seen);
                }
                let view = View {
                    is_covered: found.is_some(),
                    is_online,
                    is_doubtful: false,
                };
                subject.watching.insert(id, view);
                states.push(subject.as_seen(found.is_some(), is_online));
            }
            keys.push(key);
        }
        let connections = self.by_user.entry(identity.user.id.clone());
        connections.or_default().push(id);
        let watcher = Watcher {
            recipient,
            identity,
            subjects: keys,
        };
        self.watchers.insert(id, watcher);
        states
    }

    fn key(&mut self, user_id: &UserId) -> Key {
        if let Some(key) = self.keys.get(user_id) {
            return *key;
        }
        let key = self.next_key;
        self.next_key += 1;
        self.keys.insert(user_id.clone(), key);
        let subject = Subject {
            id: user_id.clone(),
            watching: BTreeMap::new(),
            last_seen: None,
            told: None,
            is_waiting: false,
            turns: Turns::default(),
        };
        self.subjects.insert(key, subject);
        key
    }

    /// Ends the watch of a connection, if it watches.
    pub(super) fn unwatch(&mut self, id: ConnectionId) {
        let Some(watcher) = self.watchers.remove(&id) else {
            return;
        };
        let user_id = &watcher.identity.user.id;
        if let Some(connections) = self.by_user.get_mut(user_id) {
            connections.retain(|connection| *connection != id);
            if connections.is_empty() {
                self.by_user.remove(user_id);
            }
        }
        for key in watcher.subjects {
            let Some(subject) = self.subjects.get_mut(&key) else {
                continue;
            };
            subject.watching.remove(&id);
            if subject.watching.is_empty()
                && let Some(subject) = self.subjects.remove(&key)
            {
                self.keys.remove(&subject.id);
            }
        }
    }

    /// Takes in another identity of a connection's user. What it may see is read again.
    pub(super) fn renew(&mut self, id: ConnectionId, identity: Arc<Identity>) {
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.identity = identity;
            self.rechecks.connections.insert(id);
        }
    }

    /// Notes that a user may have come or gone. If it has gone, `seen` says when.
    pub(super) fn note(&mut self, user_id: &UserId, seen: Option<Seen>) {
        let Some(key) = self.keys.get(user_id).copied() else {
            return;
        };
        if let Some(subject) = self.subjects.get_mut(&key) {
            match seen {
                Some(Seen::At(at)) => subject.last_seen = subject.last_seen.max(Some(at)),
                Some(Seen::Hidden) => subject.last_seen = None,
                None => {}
            }
        }
        self.look_at(key);
    }

    /// Has a user looked at, as soon as its watchers may be told something.
    pub(super) fn look_at(&mut self, key: Key) {
        let Some(subject) = self.subjects.get_mut(&key) else {
            return;
        };
        if !subject.is_waiting {
            subject.is_waiting = true;
            match subject.told.map(|told| told + PAUSE) {
                Some(due) if Instant::now() < due => drop(self.paced.insert((due, key))),
                _ => self.waiting.push_back(key),
            }
        }
    }

    /// Notes that a user's membership has changed.
    pub(super) fn membership_changed(&mut self, user_id: &UserId) {
        if let Some(key) = self.keys.get(user_id) {
            self.rechecks.subjects.insert(*key);
        }
        for id in self.by_user.get(user_id).into_iter().flatten() {
            self.rechecks.connections.insert(*id);
        }
    }

    /// Notes that any membership may have changed.
    pub(super) fn memberships_unknown(&mut self) {
        self.rechecks.connections.extend(self.watchers.keys());
    }

    /// Takes the next user about whom watchers may have to be told something now.
    pub(super) fn take_waiting(&mut self) -> Option<Key> {
        let now = Instant::now();
        while let Some((due, _)) = self.paced.first()
            && *due <= now
            && let Some((_, key)) = self.paced.pop_first()
        {
            self.waiting.push_back(key);
        }
        loop {
            let key = self.waiting.pop_front()?;
            if let Some(subject) = self.subjects.get_mut(&key) {
                subject.is_waiting = false;
                return Some(key);
            }
        }
    }

    /// Returns when the next user has to be looked at, if all others wait.
    pub(super) fn next_look(&self) -> Option<Instant> {
        match self.waiting.is_empty() {
            true => self.paced.first().map(|(due, _)| *due),
            false => Some(Instant::now()),
        }
    }

    /// Tells at most `limit` connections about a user, those that follow `after`. `give` returns
    /// whether the connection took it; one that did not is told later.
    pub(super) fn tell(
        &mut self,
        key: Key,
        after: Option<ConnectionId>,
        limit: usize,
        is_online: impl Fn(&UserId) -> bool,
        mut give: impl FnMut(&R, &UserPresence) -> bool,
    ) -> Told {
        let mut told = Told::default();
        let Some(subject) = self.subjects.get_mut(&key) else {
            return told;
        };
        let is_online = is_online(&subject.id);
        let states = [(false, false), (true, false), (true, true)]
            .map(|(is_covered, is_online)| subject.as_seen(is_covered, is_online));
        let [hidden, offline, online] = &states;
        let mut must_repeat = false;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = subject.watching.range_mut((start, Bound::Unbounded));
        let mut last = None;
        for (id, view) in rest.by_ref().take(limit) {
            last = Some(*id);
            let appears = view.is_covered && is_online;
            if appears == view.is_online || view.is_doubtful {
                continue;
            }
            let state = match (view.is_covered, appears) {
                (false, _) => hidden,
                (true, false) => offline,
                (true, true) => online,
            };
            let Some(watcher) = self.watchers.get(id) else {
                continue;
            };
            if give(&watcher.recipient, state) {
                view.is_online = appears;
                told.packets += 1;
            } else {
                must_repeat = true;
            }
        }
        told.next = rest.next().and(last);
        if told.packets > 0 || must_repeat {
            subject.told = Some(Instant::now());
        }
        if must_repeat {
            self.look_at(key);
        }
        told
    }

    /// Returns what a connection watches.
    pub(super) fn watched_by(&self, id: ConnectionId) -> Option<(Arc<Identity>, Vec<UserId>)> {
        let watcher = self.watchers.get(&id)?;
        let keys = watcher.subjects.iter();
        let subjects = keys.filter_map(|key| self.subjects.get(key));
        let ids = subjects.map(|subject| subject.id.clone()).collect();
        Some((watcher.identity.clone(), ids))
    }

    /// Returns a watched user, and the identities of the connections that watch it.
    pub(super) fn watchers_of(&self, key: Key) -> Option<(UserId, Vec<IdentifiedConnection>)> {
        let subject = self.subjects.get(&key)?;
        let watchers = subject.watching.keys().filter_map(|id| {
            let watcher = self.watchers.get(id)?;
            Some((*id, watcher.identity.clone()))
        });
        Some((subject.id.clone(), watchers.collect()))
    }

    /// Notes whether a connection's user shares a room with one that it watches, as read.
    pub(super) fn cover(
        &mut self,
        id: ConnectionId,
        user_id: &UserId,
        found: Option<Acquaintance>,
    ) {
        let Some(key) = self.keys.get(user_id).copied() else {
            return;
        };
        let Some(subject) = self.subjects.get_mut(&key) else {
            return;
        };
        if let Some(found) = found {
            subject.last_seen = subject.last_seen.max(found.last_seen);
        }
        if let Some(view) = subject.watching.get_mut(&id)
            && (view.is_covered != found.is_some() || view.is_doubtful)
        {
            view.is_covered = found.is_some();
            view.is_doubtful = false;
            self.look_at(key);
        }
    }
}

/// When a user was last seen that has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    At(Timestamp),
    /// That must not be known.
    Hidden,
}

impl Subject {
    fn as_seen(&self, is_covered: bool, is_online: bool) -> UserPresence {
        UserPresence {
            user_id: self.id.clone(),
            is_online,
            last_seen: self.last_seen.filter(|_| is_covered && !is_online),
        }
    }
}

#[cfg(test)]
mod tests;
