//! The rooms in which work has stopped before it was done.

use std::collections::BTreeSet;
use std::sync::Mutex;

use chat_domain::RoomId;

use crate::lock;
use crate::room::Room;

/// Rooms that the next comparison with the log must visit even if their logs do not grow:
/// what is missing could not be read, or a task has panicked.
#[derive(Debug, Default)]
pub(crate) struct UnfinishedRooms(Mutex<BTreeSet<RoomId>>);

impl UnfinishedRooms {
    /// Adds a room. It may be locked: nothing is locked here after this mutex.
    pub(crate) fn add(&self, room_id: RoomId) {
        lock(&self.0).insert(room_id);
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> Vec<RoomId> {
        std::mem::take(&mut *lock(&self.0)).into_iter().collect()
    }
}

/// Adds the room to the unfinished ones if the current task panics.
pub(crate) struct UnfinishedOnPanic<'a, R>(pub(crate) &'a Room<R>);

impl<R> Drop for UnfinishedOnPanic<'_, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.unfinished.add(self.0.id);
        }
    }
}
