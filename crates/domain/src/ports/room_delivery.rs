//! Delivers rooms to connections.

use crate::{ConnectionId, RoomId, RulesNumber, User};

/// Delivers rooms to the connections that joined them.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait RoomDelivery: Send + Sync {
    /// Ends the delivery of the room to the connection. When this returns, nothing from
    /// the room is handed to the connection any more. Does nothing if the connection has
    /// not joined the room.
    ///
    /// If the connection was typing there, the others in the room are told that its user has
    /// stopped.
    fn leave(&self, room_id: RoomId, connection: ConnectionId);

    /// Tells the others in the room, on every node, that the user of the connection is typing
    /// there or has stopped. Does nothing if the connection has not joined the room.
    ///
    /// A user that does not repeat it within six seconds stops by itself. At most one update per
    /// second and user is delivered, the newest; any of them may be lost. The user's own
    /// connections receive none.
    fn set_typing(&self, room_id: RoomId, connection: ConnectionId, user: &User, typing: bool);

    /// Returns the newest number of the room's rules that this node has heard of, at most a
    /// second late while the log can be read; [`RulesNumber::NONE`] if no connection has joined
    /// the room.
    fn rules(&self, room_id: RoomId) -> RulesNumber;
}
