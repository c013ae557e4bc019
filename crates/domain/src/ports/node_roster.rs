//! What the nodes of a deployment do now.

use std::sync::Weak;

/// What one node does now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct NodeStats {
    /// Connected clients.
    pub connections: u64,
    /// Users with a connection to the node.
    pub users: u64,
    /// Rooms that a client of the node has joined.
    pub rooms: u64,
}

/// Reports what this node does to the others, and knows what they reported.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait NodeRoster: Send + Sync {
    /// Reports what this source states, every two seconds while the other nodes can be reached,
    /// for as long as it lives.
    fn report(&self, source: Weak<dyn NodeStatsSource>);

    /// Returns what the other nodes reported last; `None` while they cannot be reached, and in the
    /// first seconds after that. A node that stops reporting is absent within ten seconds.
    fn others(&self) -> Option<Vec<NodeStats>>;
}

/// States what this node does.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait NodeStatsSource: Send + Sync {
    /// Returns what it does at this moment. Must not block.
    fn stats(&self) -> NodeStats;
}
