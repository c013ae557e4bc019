//! Ends the delivery of a room to a connection.

use crate::{ConnectionId, RoomId};

/// Delivers rooms to the connections that joined them.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait RoomDelivery: Send + Sync {
    /// Ends the delivery of the room to the connection. When this returns, nothing from
    /// the room is handed to the connection any more. Does nothing if the connection has
    /// not joined the room.
    fn leave(&self, room_id: RoomId, connection: ConnectionId);
}
