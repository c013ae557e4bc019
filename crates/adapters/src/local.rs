//! Hints within one process: all that a single node needs.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use chat_domain::{
    RoomId,
    ports::{Hint, HintListener, RoomEvents},
};

/// Passes hints to the listeners in this process. Nothing is queued: every listener has
/// handled the hint when [`RoomEvents::announce`] returns.
#[derive(Default)]
pub struct LocalRoomEvents {
    /// Shared, so that no lock is held while listeners run: they may announce and
    /// subscribe themselves.
    listeners: RwLock<Arc<[Weak<dyn HintListener>]>>,
}

impl RoomEvents for LocalRoomEvents {
    fn announce(&self, hint: Hint) {
        let listeners = self.listeners.read();
        let listeners = listeners.unwrap_or_else(PoisonError::into_inner).clone();
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.on_hint(hint.clone());
        }
    }

    // With one node, hints are withheld from no other place.
    fn serve(&self, _: RoomId) {}

    fn release(&self, _: RoomId) {}

    fn subscribe(&self, listener: Weak<dyn HintListener>) {
        let listeners = self.listeners.write();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        let alive = listeners
            .iter()
            .filter(|listener| listener.strong_count() > 0)
            .cloned();
        *listeners = alive.chain([listener]).collect();
    }
}
