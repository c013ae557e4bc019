//! The users that watch, their rooms and their connections on this node.
//!
//! A user and a room cost 32 bytes: an [`Entry`] of the user, and its key in the room's list.
//! Nothing of a summary is kept but a fingerprint of what was sent last.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chat_domain::ports::MemberPart;
use chat_domain::{ConnectionId, Identity, RoomId, UserId};

use super::history::{History, Moment};
use super::work::Work;
use super::{RemovalReason, SummaryEvent};

/// Milliseconds since the watchers were created, and a second.
pub(super) type Millis = u64;
/// Identifies a watching user; it is not used again.
pub(super) type UserKey = u64;

/// Fingerprints what was sent; [`NOTHING`] is none.
pub(super) type Fingerprint = u64;
/// It is not known what the connections have: any summary is new.
pub(super) const NOTHING: Fingerprint = 0;

/// Everything that is watched on this node.
pub(super) struct Registry<R> {
    pub(super) users: HashMap<UserKey, User<R>>,
    keys: HashMap<UserId, UserKey>,
    connections: HashMap<ConnectionId, UserKey>,
    /// The watching members of each room.
    rooms: HashMap<RoomId, Vec<UserKey>>,
    pub(super) work: Work,
    pub(super) history: History,
    /// Connections that have begun to watch lately.
    pub(super) fresh: Vec<Fresh>,
    /// What was read for these since the last batch was taken does not count.
    pub(super) invalidated: HashSet<(RoomId, UserKey)>,
    /// The same for all watchers of these.
    pub(super) invalidated_rooms: HashSet<RoomId>,
    next_key: UserKey,
}

/// A user that watches.
pub(super) struct User<R> {
    pub(super) id: UserId,
    /// Ascending by room.
    pub(super) rooms: Vec<Entry>,
    pub(super) connections: Vec<Connection<R>>,
    pub(super) loaded: Loaded,
    /// Whether the rooms have to be read anew.
    pub(super) must_load: bool,
}

/// Which of a user's rooms are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loaded {
    /// None: they are being read.
    Nothing,
    /// Those that were the most recent ones, or those that a connection may see.
    Part,
    /// All.
    All,
}

/// A room of a user.
pub(super) struct Entry {
    pub(super) room_id: RoomId,
    pub(super) sent: Fingerprint,
    pub(super) sent_at: Millis,
}

/// A connection that watches.
pub(super) struct Connection<R> {
    pub(super) id: ConnectionId,
    pub(super) recipient: Arc<R>,
    pub(super) identity: Arc<Identity>,
    /// What it could not take, or has to be told whatever was sent to others: each room once.
    pub(super) owed: BTreeMap<RoomId, SummaryEvent>,
    /// Whether a task waits until it can take more.
    pub(super) is_waiting: bool,
}

/// A connection that has begun to watch. What is reported until `until` may have been committed
/// before that, and is told to it in any case: its client may not know it, even if another
/// connection of the user does.
pub(super) struct Fresh {
    pub(super) key: UserKey,
    pub(super) connection: ConnectionId,
    pub(super) after: Moment,
    pub(super) until: Moment,
}

impl<R> Default for Registry<R> {
    fn default() -> Self {
        Self {
            users: HashMap::new(),
            keys: HashMap::new(),
            connections: HashMap::new(),
            rooms: HashMap::new(),
            work: Work::default(),
            history: History::default(),
            fresh: Vec::new(),
            invalidated: HashSet::new(),
            invalidated_rooms: HashSet::new(),
            next_key: 0,
        }
    }
}

impl<R> Registry<R> {
    /// Returns how many connections watch, and how many rooms are watched.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.connections.len(), self.rooms.len())
    }

    pub(super) fn watches(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }

    pub(super) fn key(&self, user_id: &UserId) -> Option<UserKey> {
        self.keys.get(user_id).copied()
    }

    /// Adds a connection. Returns its user's key, and which rooms of the user are known.
    pub(super) fn add(
        &mut self,
        id: ConnectionId,
        recipient: Arc<R>,
        identity: Arc<Identity>,
    ) -> (UserKey, Loaded) {
        let user_id = &identity.user.id;
        let key = match self.keys.get(user_id) {
            Some(key) => *key,
            None => {
                let key = self.next_key;
                self.next_key += 1;
                self.keys.insert(user_id.clone(), key);
                key
            }
        };
        self.connections.insert(id, key);
        let user = self.users.entry(key).or_insert_with(|| User {
            id: user_id.clone(),
            rooms: Vec::new(),
            connections: Vec::new(),
            loaded: Loaded::Nothing,
            must_load: false,
        });
        user.connections.push(Connection {
            id,
            recipient,
            identity,
            owed: BTreeMap::new(),
            is_waiting: false,
        });
        (key, user.loaded)
    }

    /// Removes a connection, and its user with the last one.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(key) = self.connections.remove(&id) else {
            return;
        };
        self.fresh.retain(|fresh| fresh.connection != id);
        let Some(user) = self.users.get_mut(&key) else {
            return;
        };
        user.connections.retain(|connection| connection.id != id);
        if !user.connections.is_empty() {
            return;
        }
        if let Some(user) = self.users.remove(&key) {
            self.keys.remove(&user.id);
            for entry in &user.rooms {
                self.forget(entry.room_id, key);
            }
        }
        if self.rooms.capacity() > 4 * self.rooms.len() + 1024 {
            self.rooms.shrink_to(2 * self.rooms.len());
        }
    }

    /// Returns a connection's user.
    pub(super) fn user_of(&mut self, id: ConnectionId) -> Option<&mut User<R>> {
        self.users.get_mut(self.connections.get(&id)?)
    }

    /// Has the rooms looked at about which a connection has to be told something, at most
    /// `limit` of them.
    pub(super) fn resume(&mut self, id: ConnectionId, limit: usize) {
        let Some(key) = self.connections.get(&id) else {
            return;
        };
        let Some(user) = self.users.get_mut(key) else {
            return;
        };
        let watching = user.connections.iter_mut();
        for watching in watching.filter(|watching| watching.id == id) {
            watching.is_waiting = false;
            for room_id in watching.owed.keys().take(limit) {
                self.work.add(*room_id, *key);
            }
        }
    }

    /// Compares some of the connections that have begun to watch with what was reported since
    /// they were compared last: they are owed what has changed. Returns them.
    pub(super) fn take_fresh(&mut self, limit: usize) -> Vec<ConnectionId> {
        let now = self.history.now();
        let mut compared = Vec::new();
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.retain_mut(|fresh| {
            if fresh.after >= now || compared.len() == limit {
                return true;
            }
            compared.push(fresh.connection);
            self.owe_changes(fresh.key, fresh.connection, fresh.after);
            fresh.after = now;
            now < fresh.until
        });
        self.fresh = fresh;
        compared
    }

    fn owe_changes(&mut self, key: UserKey, id: ConnectionId, after: Moment) {
        let Some(user) = self.users.get_mut(&key) else {
            return;
        };
        let history = &self.history;
        let is_known = history.knows(after);
        let moved = history.of_member(&user.id, MemberPart::ReadPointer, after);
        let rooms = user.rooms.iter().map(|entry| entry.room_id);
        let mut due: Vec<RoomId> = rooms
            .filter(|room| !is_known || history.has_changed(*room, after) || moved.contains(room))
            .collect();
        // Among them may be rooms that the user has lost, but not those that it never had.
        due.extend(history.of_member(&user.id, MemberPart::Membership, after));
        let watching = user.connections.iter_mut();
        for watching in watching.filter(|watching| watching.id == id) {
            for room_id in &due {
                let owed = watching.owed.entry(*room_id);
                owed.or_insert(SummaryEvent::Updated);
            }
        }
    }

    /// Returns the watchers of a room.
    pub(super) fn watchers(&self, room_id: RoomId) -> &[UserKey] {
        self.rooms.get(&room_id).map_or(&[], Vec::as_slice)
    }

    /// Returns all watched rooms.
    pub(super) fn watched(&self) -> Vec<RoomId> {
        self.rooms.keys().copied().collect()
    }

    /// Adds a room to a user that does not have it.
    pub(super) fn insert(&mut self, key: UserKey, entry: Entry) {
        let room_id = entry.room_id;
        if let Some(user) = self.users.get_mut(&key)
            && let Err(place) = user.place(room_id)
        {
            user.rooms.insert(place, entry);
            self.rooms.entry(room_id).or_default().push(key);
        }
    }

    /// Removes a room from a user. Returns whether it had it.
    pub(super) fn take(&mut self, key: UserKey, room_id: RoomId) -> bool {
        let Some(user) = self.users.get_mut(&key) else {
            return false;
        };
        let Ok(place) = user.place(room_id) else {
            return false;
        };
        user.rooms.remove(place);
        self.forget(room_id, key);
        true
    }

    fn forget(&mut self, room_id: RoomId, key: UserKey) {
        if let Some(watchers) = self.rooms.get_mut(&room_id) {
            if let Some(place) = watchers.iter().position(|watcher| *watcher == key) {
                watchers.swap_remove(place);
            }
            if watchers.is_empty() {
                self.rooms.remove(&room_id);
            }
        }
    }
}

impl<R> User<R> {
    /// Returns where the room is, or would be.
    pub(super) fn place(&self, room_id: RoomId) -> Result<usize, usize> {
        let rooms = &self.rooms;
        rooms.binary_search_by_key(&room_id, |entry| entry.room_id)
    }

    pub(super) fn entry(&self, room_id: RoomId) -> Option<&Entry> {
        self.place(room_id).ok().map(|place| &self.rooms[place])
    }

    /// Returns whether some connection has to be told something about the room.
    pub(super) fn owes(&self, room_id: RoomId) -> bool {
        let mut connections = self.connections.iter();
        connections.any(|connection| connection.owed.contains_key(&room_id))
    }
}

impl<R> Connection<R> {
    /// Takes in another identity of the same user. Nothing of a room that it does not allow is
    /// sent from now on; the connection is told which rooms it has lost and won.
    pub(super) fn renew(&mut self, identity: Arc<Identity>, rooms: &[Entry]) {
        let before = std::mem::replace(&mut self.identity, identity);
        for room_id in rooms.iter().map(|entry| entry.room_id) {
            match (before.may_join(room_id), self.identity.may_join(room_id)) {
                (true, false) => {
                    let removed = SummaryEvent::Removed(RemovalReason::Removed);
                    self.owed.insert(room_id, removed);
                }
                (false, true) => {
                    self.owed.insert(room_id, SummaryEvent::Added);
                }
                _ => {}
            }
        }
    }

    /// Returns what the connection is told about a room after it was looked at. `news` is what
    /// is new for the user, and `gone` says why the user has lost the room, if it has.
    pub(super) fn take_due(
        &mut self,
        room_id: RoomId,
        news: Option<SummaryEvent>,
        gone: Option<RemovalReason>,
    ) -> Option<SummaryEvent> {
        use SummaryEvent::{Added, Removed, Updated};
        let owed = self.owed.remove(&room_id);
        match (self.identity.may_join(room_id), gone) {
            (true, Some(reason)) => (news.or(owed)).map(|_| Removed(reason)),
            (true, None) => match (news, owed) {
                (None, None) => None,
                (Some(Added), _) | (_, Some(Added)) => Some(Added),
                _ => Some(Updated),
            },
            (false, _) => owed.filter(|owed| matches!(owed, Removed(_))),
        }
    }
}
