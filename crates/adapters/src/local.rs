//! Hints within one process: all that a single node needs.

use std::sync::{PoisonError, RwLock, Weak};

use chat_domain::RoomId;
use chat_domain::ports::{Hint, HintListener, RoomEvents};

/// Hands hints to the listeners in this process. Nothing is queued: each listener has
/// handled the hint when [`RoomEvents::announce`] returns.
#[derive(Default)]
pub struct LocalRoomEvents {
    listeners: RwLock<Vec<Weak<dyn HintListener>>>,
}

impl RoomEvents for LocalRoomEvents {
    fn announce(&self, hint: Hint) {
        let listeners = self.listeners.read();
        for listener in listeners.unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(listener) = listener.upgrade() {
                listener.on_hint(hint.clone());
            }
        }
    }

    // With one node there is no other place from which to withhold hints.
    fn serve(&self, _: RoomId) {}

    fn release(&self, _: RoomId) {}

    fn subscribe(&self, listener: Weak<dyn HintListener>) {
        let listeners = self.listeners.write();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }
}
