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
    /// Rooms that are looked at when nothing else has to be, because nobody knows whether they
    /// have changed.
    compared: Vec<RoomId>,
}

/// The watchers of a room that have to be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Concerned {
    /// These.
    Users(BTreeSet<UserKey>),
    /// All that the room has when its turn comes.
    Everyone,
}

impl Work {
    /// Adds a watcher of a room.
    pub(super) fn add(&mut self, room_id: RoomId, user: UserKey) {
        match self.concerned.get_mut(&room_id) {
            Some(Concerned::Users(users)) => {
                users.insert(user);
            }
            Some(Concerned::Everyone) => {}
            None => self.push(room_id, Concerned::Users([user].into())),
        }
    }

    /// Adds all watchers of a room.
    pub(super) fn add_everyone(&mut self, room_id: RoomId) {
        match self.concerned.get_mut(&room_id) {
            Some(concerned) => *concerned = Concerned::Everyone,
            None => self.push(room_id, Concerned::Everyone),
        }
    }

    /// Adds what is left of a room after its turn.
    pub(super) fn put_back(&mut self, room_id: RoomId, users: BTreeSet<UserKey>) {
        if !users.is_empty() {
            self.push(room_id, Concerned::Users(users));
        }
    }

    fn push(&mut self, room_id: RoomId, concerned: Concerned) {
        self.concerned.insert(room_id, concerned);
        self.order.push_back(room_id);
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
            return Some((room_id, Concerned::Everyone));
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
