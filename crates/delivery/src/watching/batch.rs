//! Which watchers are looked at next.

use std::collections::HashMap;

use chat_domain::{RoomId, UserId};

use super::registry::{Loaded, Millis, Registry, UserKey};
use crate::recipient::Recipient;

/// A connection receives at most one summary of a room in this time, in milliseconds.
const PAUSE: Millis = 1000;
/// How many summaries, and of how many rooms, are read at once.
const PAIRS_AT_ONCE: usize = 500;
const ROOMS_AT_ONCE: usize = 100;
/// How many watchers are considered under one lock.
const CONSIDERED_AT_ONCE: usize = 2000;
/// Watchers to be looked at.
#[derive(Default)]
pub(super) struct Batch {
    /// Each once.
    pub(super) rooms: Vec<RoomId>,
    pub(super) keys: Vec<UserKey>,
    pub(super) pairs: Vec<(RoomId, UserId)>,
}

impl Batch {
    /// Returns its rooms one by one.
    pub(super) fn split(self) -> Vec<Self> {
        let mut parts: HashMap<RoomId, Self> = HashMap::new();
        for (pair, key) in self.pairs.into_iter().zip(self.keys) {
            let part = parts.entry(pair.0).or_insert_with(|| Self {
                rooms: vec![pair.0],
                ..Self::default()
            });
            part.pairs.push(pair);
            part.keys.push(key);
        }
        parts.into_values().collect()
    }
}

impl<R: Recipient> Registry<R> {
    /// Takes the next watchers to be looked at.
    pub(super) fn take_batch(&mut self, now: Millis) -> Batch {
        self.invalidated.clear();
        self.invalidated_rooms.clear();
        self.work.add_due(now, CONSIDERED_AT_ONCE);
        let mut batch = Batch::default();
        let mut considered = 0;
        while batch.rooms.len() < ROOMS_AT_ONCE
            && batch.pairs.len() < PAIRS_AT_ONCE
            && considered < CONSIDERED_AT_ONCE
        {
            let Some((room_id, concerned)) = self.work.take() else {
                break;
            };
            let mut keys = concerned.users;
            if concerned.everyone {
                keys.extend(self.watchers(room_id));
            }
            let before = batch.pairs.len();
            while batch.pairs.len() < PAIRS_AT_ONCE
                && considered < CONSIDERED_AT_ONCE
                && let Some(key) = keys.pop_first()
            {
                considered += 1;
                self.consider(room_id, key, now, &mut batch);
            }
            considered += 1;
            if batch.pairs.len() > before {
                batch.rooms.push(room_id);
            }
            self.work.put_back(room_id, keys);
        }
        batch
    }

    /// Adds a watcher to the batch, unless it has to wait for its next summary.
    fn consider(&mut self, room_id: RoomId, key: UserKey, now: Millis, batch: &mut Batch) {
        // A user of whom no room is known yet is told of changes when its rooms are read.
        let user = self.users.get(&key);
        let Some(user) = user.filter(|user| user.loaded != Loaded::Nothing) else {
            return;
        };
        let due = user.entry(room_id).map(|entry| entry.sent_at + PAUSE);
        match due.filter(|due| *due > now) {
            Some(due) => self.work.pace(due, room_id, key),
            None => {
                batch.pairs.push((room_id, user.id.clone()));
                batch.keys.push(key);
            }
        }
    }

    /// Has a batch looked at again.
    pub(super) fn put_back(&mut self, batch: &Batch) {
        for ((room_id, _), key) in batch.pairs.iter().zip(&batch.keys) {
            self.work.add(*room_id, *key);
        }
    }
}
