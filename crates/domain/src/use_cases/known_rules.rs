//! The numbers of rooms' rules, as far as they are known.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{RoomId, RulesNumber};

/// How many rooms are remembered.
const MAX_ROOMS: usize = 50_000;

/// Remembers numbers of rules, so that a message needs no read before it is appended. They may be
/// outdated: the append compares them.
#[derive(Default)]
pub(super) struct KnownRules(Mutex<HashMap<RoomId, RulesNumber>>);

impl KnownRules {
    /// Returns the number that a room had. Most rooms have no rules.
    pub(super) fn get(&self, room_id: RoomId) -> RulesNumber {
        self.lock().get(&room_id).copied().unwrap_or_default()
    }

    /// Remembers the number of a room that has rules.
    pub(super) fn set(&self, room_id: RoomId, number: RulesNumber) {
        let mut known = self.lock();
        if known.len() >= MAX_ROOMS {
            known.clear();
        }
        known.insert(room_id, number);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomId, RulesNumber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
