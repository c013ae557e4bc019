//! Hints within one process: what one node alone needs.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use async_trait::async_trait;
use chat_domain::Message;
use chat_domain::ports::{RoomEventListener, RoomEvents};

/// Carries hints to the listeners of this process, and nowhere else. Nothing is
/// queued: a listener has the hint when [`RoomEvents::message_stored`] returns.
#[derive(Default)]
pub struct LocalRoomEvents {
    listeners: RwLock<Vec<Weak<dyn RoomEventListener>>>,
}

#[async_trait]
impl RoomEvents for LocalRoomEvents {
    async fn message_stored(&self, message: Arc<Message>) {
        let listeners = self.listeners.read();
        for listener in listeners.unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(listener) = listener.upgrade() {
                listener.on_message_stored(message.clone());
            }
        }
    }

    fn subscribe(&self, listener: Weak<dyn RoomEventListener>) {
        let listeners = self.listeners.write();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }
}
