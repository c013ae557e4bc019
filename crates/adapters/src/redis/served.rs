//! The rooms that this node serves, and which of their channels it still has to subscribe to.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chat_domain::RoomId;

/// The rooms that this node serves.
#[derive(Default)]
pub(super) struct Served(Mutex<State>);

#[derive(Default)]
struct State {
    rooms: HashSet<RoomId>,
    /// The rooms whose subscription may have to change; `None` without a connection.
    changed: Option<HashSet<RoomId>>,
}

/// The rooms whose channels a connection is subscribed to.
#[derive(Default)]
pub(super) struct Subscribed(HashSet<RoomId>);

/// How a connection's subscriptions have to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<RoomId>,
    pub(super) unsubscribe: Vec<RoomId>,
}

impl Served {
    /// Adds a room.
    pub(super) fn add(&self, room_id: RoomId) {
        let mut state = self.lock();
        state.rooms.insert(room_id);
        state.note(room_id);
    }

    /// Removes a room.
    pub(super) fn remove(&self, room_id: RoomId) {
        let mut state = self.lock();
        state.rooms.remove(&room_id);
        state.note(room_id);
    }

    /// Begins with a new connection, which has no subscriptions yet.
    pub(super) fn connected(&self) -> Subscribed {
        let mut state = self.lock();
        state.changed = Some(state.rooms.clone());
        Subscribed::default()
    }

    /// Stops noting changes: the next connection subscribes to everything.
    pub(super) fn disconnected(&self) {
        self.lock().changed = None;
    }

    /// Takes the changes of at most `limit` rooms. A room that was added and removed since
    /// causes none.
    pub(super) fn take_changes(&self, subscribed: &mut Subscribed, limit: usize) -> Changes {
        let mut changes = Changes::default();
        let mut state = self.lock();
        let state = &mut *state;
        let Some(changed) = &mut state.changed else {
            return changes;
        };
        let rooms: Vec<RoomId> = changed.iter().take(limit).copied().collect();
        for room_id in rooms {
            changed.remove(&room_id);
            match state.rooms.contains(&room_id) {
                true if subscribed.0.insert(room_id) => changes.subscribe.push(room_id),
                false if subscribed.0.remove(&room_id) => changes.unsubscribe.push(room_id),
                _ => {}
            }
        }
        changes
    }

    /// Returns whether there are changes to take.
    pub(super) fn has_changes(&self) -> bool {
        let state = self.lock();
        state
            .changed
            .as_ref()
            .is_some_and(|changed| !changed.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, room_id: RoomId) {
        if let Some(changed) = &mut self.changed {
            changed.insert(room_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(n: u64) -> RoomId {
        RoomId::new(n).unwrap()
    }

    #[test]
    fn a_connection_subscribes_to_what_is_served_and_then_to_what_changes() {
        let served = Served::default();
        served.add(room(1));
        let mut subscribed = served.connected();
        let mut take = || served.take_changes(&mut subscribed, 10);
        assert_eq!(take().subscribe, [room(1)]);
        assert_eq!(take(), Changes::default());

        served.add(room(2));
        served.add(room(2));
        served.remove(room(1));
        let changes = take();
        assert_eq!(changes.subscribe, [room(2)]);
        assert_eq!(changes.unsubscribe, [room(1)]);

        served.add(room(3));
        served.remove(room(3));
        served.remove(room(2));
        served.add(room(2));
        assert_eq!(take(), Changes::default());
        assert!(!served.has_changes());
    }

    #[test]
    fn a_new_connection_subscribes_to_everything_in_portions() {
        let served = Served::default();
        let mut subscribed = served.connected();
        (1..=25).for_each(|n| served.add(room(n)));
        served.take_changes(&mut subscribed, 100);
        served.disconnected();
        served.remove(room(1));
        let mut subscribed = served.connected();
        let mut portions = Vec::new();
        while served.has_changes() {
            let changes = served.take_changes(&mut subscribed, 10);
            assert!(changes.unsubscribe.is_empty());
            portions.push(changes.subscribe.len());
        }
        assert_eq!(portions, [10, 10, 4]);
    }
}
