//! Carries commands to every node.

use std::sync::Weak;

use async_trait::async_trait;

use crate::{BoxError, Disconnection, Revocation};

/// What every node does when it is told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeCommand {
    /// Closes the connections that a user has at this moment.
    DisconnectUser(Disconnection),
    /// Refuses a user's tokens that are revoked and closes the connections that use them; accepts
    /// them again if the revocation is lifted.
    RevokeTokens(Revocation),
}

/// Sends commands to the nodes, and receives those for this one.
///
/// Unlike a [hint](crate::ports::Hint), a command is not repeated: a node that is not connected
/// when it is sent never receives it. Such a node finds what was stored in
/// [`Sanctions`](crate::ports::Sanctions).
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait NodeCommands: Send + Sync {
    /// Sends a command to every node, including this one. Returns how many nodes it has
    /// reached.
    ///
    /// # Errors
    /// [`NodesUnreachable`], within a few seconds: some nodes may have received it.
    async fn send(&self, command: NodeCommand) -> Result<u64, NodesUnreachable>;

    /// Adds a listener. It receives every command that reaches this node, for as long as it
    /// lives.
    fn subscribe(&self, listener: Weak<dyn NodeCommandListener>);
}

/// Carries commands out.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait NodeCommandListener: Send + Sync {
    /// Carries a command out. Must not block.
    fn on_command(&self, command: NodeCommand);
}

/// The error for a command that could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("the nodes cannot be reached")]
pub struct NodesUnreachable(#[source] pub BoxError);
