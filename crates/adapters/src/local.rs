//! Hints within one process: what one node alone needs.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use async_trait::async_trait;
use chat_domain::StoredMessage;
use chat_domain::ports::{PointerMoved, RoomEventListener, RoomEvents};

/// Carries hints to the listeners of this process, and nowhere else. Nothing is
/// queued: a listener has the hint when [`RoomEvents::message_stored`] returns.
#[derive(Default)]
pub struct LocalRoomEvents {
    listeners: RwLock<Vec<Weak<dyn RoomEventListener>>>,
}

impl LocalRoomEvents {
    fn tell(&self, hint: impl Fn(&dyn RoomEventListener)) {
        let listeners = self.listeners.read();
        for listener in listeners.unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(listener) = listener.upgrade() {
                hint(&*listener);
            }
        }
    }
}

#[async_trait]
impl RoomEvents for LocalRoomEvents {
    async fn message_stored(&self, message: Arc<StoredMessage>) {
        self.tell(|listener| listener.on_message_stored(message.clone()));
    }

    async fn pointer_moved(&self, moved: PointerMoved) {
        self.tell(|listener| listener.on_pointer_moved(moved.clone()));
    }

    fn subscribe(&self, listener: Weak<dyn RoomEventListener>) {
        let listeners = self.listeners.write();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }
}
