//! The numbers of rooms' rules, as far as they are known.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Generation, RoomId, RulesNumber};

/// How many rooms are remembered.
const MAX_ROOMS: usize = 50_000;

/// By which rules a message is appended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DecidedBy {
    /// The number of the room's rules.
    pub(super) number: RulesNumber,
    /// The room's generation.
    pub(super) generation: Generation,
}

/// Remembers numbers of rules, so that a message needs no read before it is appended. They may be
/// outdated: the append compares them.
#[derive(Default)]
pub(super) struct KnownRules(Mutex<HashMap<RoomId, DecidedBy>>);

impl KnownRules {
    /// Returns by which rules messages of a room were appended. Most rooms have no rules.
    pub(super) fn get(&self, room_id: RoomId) -> DecidedBy {
        self.lock().get(&room_id).copied().unwrap_or_default()
    }

    /// Remembers the rules of a room that has some.
    pub(super) fn set(&self, room_id: RoomId, decided_by: DecidedBy) {
        let mut known = self.lock();
        if known.len() >= MAX_ROOMS {
            known.clear();
        }
        known.insert(room_id, decided_by);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomId, DecidedBy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
