//! Which summaries have to be looked at, now or later.

use std::collections::{BTreeSet, HashMap, VecDeque};

use chat_domain::RoomId;

use super::registry::{Millis, UserKey};

/// The rooms whose watchers have to be looked at: each room and each of its watchers at most
/// once, however often they change.
#[derive(Default)]
pub(super) struct Work {
    order: VecDeque<RoomId>,
    concerned: HashMap<RoomId, Concerned>,
    /// Watchers that were given a summary of the room less than a second ago, and when their
    /// next one is due.
    paced: BTreeSet<(Millis, RoomId, UserKey)>,
    /// Rooms that may have changed: the feed did not say. They are read when nothing else
    /// waits.
    compared: Vec<RoomId>,
}

/// The users who have to be looked at for a room.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Concerned {
    /// Whether these are all watchers that the room has when its turn comes.
    pub(super) everyone: bool,
    /// These as well: some may not watch the room yet.
    pub(super) users: BTreeSet<UserKey>,
}

impl Work {
    /// Adds a user of a room.
    pub(super) fn add(&mut self, room_id: RoomId, user: UserKey) {
        self.concerned(room_id).users.insert(user);
    }

    /// Adds all watchers of a room.
    pub(super) fn add_everyone(&mut self, room_id: RoomId) {
        self.concerned(room_id).everyone = true;
    }

    /// Adds what is left of a room after its turn.
    pub(super) fn put_back(&mut self, room_id: RoomId, users: BTreeSet<UserKey>) {
        if !users.is_empty() {
            self.concerned(room_id).users.extend(users);
        }
    }

    /// Returns the room's entry; a room without one is queued.
    fn concerned(&mut self, room_id: RoomId) -> &mut Concerned {
        self.concerned.entry(room_id).or_insert_with(|| {
            self.order.push_back(room_id);
            Concerned::default()
        })
    }

    /// Has these rooms looked at when nothing else has to be, instead of those that were left
    /// of an earlier call.
    pub(super) fn compare(&mut self, rooms: Vec<RoomId>) {
        self.compared = rooms;
    }

    /// Adds a watcher that is looked at later.
    pub(super) fn pace(&mut self, due: Millis, room_id: RoomId, user: UserKey) {
        self.paced.insert((due, room_id, user));
    }

    /// Adds at most `limit` of the watchers whose next summary is due.
    pub(super) fn add_due(&mut self, now: Millis, limit: usize) {
        for _ in 0..limit {
            match self.paced.first() {
                Some((due, ..)) if *due <= now => {}
                _ => break,
            }
            if let Some((_, room_id, user)) = self.paced.pop_first() {
                self.add(room_id, user);
            }
        }
    }

    /// Takes the next room.
    pub(super) fn take(&mut self) -> Option<(RoomId, Concerned)> {
        let Some(room_id) = self.order.pop_front() else {
            let room_id = self.compared.pop()?;
            let everyone = Concerned {
                everyone: true,
                ..Concerned::default()
            };
            return Some((room_id, everyone));
        };
        Some((room_id, self.concerned.remove(&room_id)?))
    }

    /// Returns when there is something to do, if ever.
    pub(super) fn next(&self, now: Millis) -> Option<Millis> {
        match self.order.is_empty() && self.compared.is_empty() {
            true => self.paced.first().map(|(due, ..)| *due),
            false => Some(now),
        }
    }
}
