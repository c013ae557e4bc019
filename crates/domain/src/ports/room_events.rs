//! Telling every node that serves a room that something happened in it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Message;

/// Carries hints to whoever shows a room: this node, and others.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RoomEvents: Send + Sync {
    /// Tells that a message is stored. It is a hint: it may be lost, doubled, or
    /// overtaken by another, and the log stays the truth. That is why there is no
    /// error.
    async fn message_stored(&self, message: Arc<Message>);
}
