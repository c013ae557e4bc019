//! Reports how hints reach the other nodes.

use async_trait::async_trait;

/// The state of the server through which nodes exchange hints and commands. Without it a node
/// still serves its clients: what other nodes store is found in the log.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait HintsHealth: Send + Sync {
    /// Returns what this node has exchanged so far.
    fn status(&self) -> HintsStatus;

    /// Completes when the task that exchanges hints has ended. Never completes otherwise: the
    /// loss of the server does not end it.
    async fn stopped(&self);
}

/// What a node has exchanged with the others since it started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct HintsStatus {
    /// Whether the server is connected now.
    pub is_connected: bool,
    /// How often it has been connected.
    pub connections: u64,
    /// How many hints of this node the server has taken.
    pub published: u64,
    /// How many hints of other nodes have arrived.
    pub received: u64,
    /// How many hints of this node were lost, or may have been.
    pub lost: LostHints,
    /// How many hints and commands arrived that this node does not understand.
    pub invalid: u64,
}

/// The hints of a node that were lost, by reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LostHints {
    /// The server was not connected.
    pub disconnected: u64,
    /// Too many hints were waiting for the server.
    pub queue_full: u64,
    /// The connection broke before the server confirmed them.
    pub unconfirmed: u64,
}
