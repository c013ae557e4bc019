//! Telling every node that serves a room that something happened in it.

use std::sync::{Arc, Weak};

use async_trait::async_trait;

use crate::{RoomId, Seq, StoredMessage, UserId};

/// Carries hints to whoever shows a room: this node, and others.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RoomEvents: Send + Sync {
    /// Tells that a message is stored. It is a hint: it may be lost, doubled, or
    /// overtaken by another, and the log stays the truth. That is why there is no
    /// error.
    async fn message_stored(&self, message: Arc<StoredMessage>);

    /// Tells that a user's read pointer has moved. A hint as well: one that is lost
    /// is made good by the user's next.
    async fn pointer_moved(&self, moved: PointerMoved);

    /// From now on the listener is told of every hint that reaches this process,
    /// for as long as it lives.
    fn subscribe(&self, listener: Weak<dyn RoomEventListener>);
}

/// Shows rooms, and wants to know what happens in them.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait RoomEventListener: Send + Sync {
    /// A message is stored. Called in somebody else's turn: it must not block.
    fn on_message_stored(&self, message: Arc<StoredMessage>);

    /// A read pointer has moved. Called in somebody else's turn: it must not block.
    fn on_pointer_moved(&self, moved: PointerMoved);
}

/// A user has read a room up to a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointerMoved {
    /// Which room.
    pub room_id: RoomId,
    /// Who.
    pub user_id: UserId,
    /// Up to where.
    pub seq: Seq,
}
