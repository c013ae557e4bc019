//! Notifies the nodes that serve a room of a change in it.

use std::sync::Weak;

use crate::{Generation, RoomEntry, RoomId};

/// A notification that something changed in a room.
///
/// It is a hint: it may be lost, duplicated, delayed or overtaken by another one. The log
/// in the database remains the source of truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The room.
    pub room_id: RoomId,
    /// The generation of the room in which it changed.
    pub generation: Generation,
    /// What changed.
    pub entry: RoomEntry,
}

/// Carries hints to the nodes that serve a room, including this one.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait RoomEvents: Send + Sync {
    /// Announces a change. Returns at once: the caller waits neither for a network nor
    /// for other nodes. There is no error, because a hint may be lost without harm.
    fn announce(&self, hint: Hint);

    /// States that this node serves the room from now on: hints about it, announced on
    /// any node, reach this node's listeners. Hints about rooms that this node does not
    /// serve may be withheld. Neither this nor [`release`](Self::release) blocks or calls a
    /// listener.
    fn serve(&self, room_id: RoomId);

    /// States that this node no longer serves the room.
    fn release(&self, room_id: RoomId);

    /// Adds a listener. It receives every hint that reaches this process, for as long as
    /// it lives.
    fn subscribe(&self, listener: Weak<dyn HintListener>);
}

/// Receives hints.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait HintListener: Send + Sync {
    /// Handles a hint. It is called in the announcing task and must not block.
    fn on_hint(&self, hint: Hint);
}
