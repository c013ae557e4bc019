//! What a transport implements: one connection that receives rooms.

use bytes::Bytes;
use chat_domain::{ConnectionId, User, UserId};

/// A connection that can join rooms.
///
/// Frames are finished by the transport's [`Encoder`](crate::Encoder): one `Bytes` holds
/// one frame or several whole ones in order. The recipient never blocks; it queues what its
/// client has not taken yet and decides how much may wait.
pub trait Recipient: Send + Sync + 'static {
    /// Returns the connection's id.
    fn id(&self) -> ConnectionId;

    /// Returns whether it is a connection of this user: it is not told what its own user does.
    fn is_of(&self, _: &UserId) -> bool {
        false
    }

    /// Calls `visit` with the user, if others may see that it is here.
    fn visit_user(&self, _visit: &mut dyn FnMut(&User)) {}

    /// Queues frames behind everything before them, however much is waiting. The caller
    /// waited for [`space`](Self::space), or answers a request of the client.
    fn give(&self, frames: Bytes);

    /// Queues frames if the client keeps up with what is live.
    fn give_live(&self, frames: &Bytes) -> LiveGive;

    /// Completes when so little is waiting that a member that has fallen behind may be
    /// given more.
    ///
    /// # Errors
    /// [`Gone`] if it never will. A client that takes nothing for too long must end up
    /// gone, because this wait has no other deadline.
    fn space(&self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Returns whether the client has disconnected.
    fn is_gone(&self) -> bool;
}

/// The result of [`Recipient::give_live`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveGive {
    /// The frames are queued.
    Taken,
    /// Too much is waiting: nothing was queued.
    Full,
}

/// The error for a client that has disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has disconnected")]
pub struct Gone;
