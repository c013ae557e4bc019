//! Carries between nodes which users are online, and which are in a room.

use std::sync::Weak;

use crate::{RoomId, Timestamp, User, UserId};

/// The name of a process among the nodes. No other process has it, at any time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Box<str>);

impl NodeName {
    /// Wraps a name that no other process has.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self(name.into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What one node says to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceNews {
    /// How the users of the node have changed. Without any change it is a sign of life.
    Changes {
        /// The number of the node's last message with changes: this one, if it has any.
        number: u64,
        /// Users that are online now.
        came: Vec<UserId>,
        /// Users that are not online any more, and since when; `None` if that is hidden.
        went: Vec<(UserId, Option<Timestamp>)>,
    },
    /// A part of all users of the node. The parts follow each other without changes between
    /// them.
    Snapshot {
        /// The number of the last message with changes before it.
        number: u64,
        /// The place of the part, from 0 on.
        part: u32,
        /// The number of parts, at least 1.
        parts: u32,
        /// The users.
        users: Vec<UserId>,
    },
    /// Asks for a snapshot.
    Wanted {
        /// Of this node; `None`: of all.
        of: Option<NodeName>,
    },
    /// Asks which users are in a room.
    Question {
        /// Identifies the question among those of the node.
        id: u64,
        /// The room.
        room_id: RoomId,
    },
    /// Answers a question.
    Answer {
        /// The node that has asked.
        to: NodeName,
        /// Its question.
        id: u64,
        /// Users of the answering node in the room, not all if they are many.
        users: Vec<User>,
        /// Numbers for all others, equal on every node for the same user.
        others: Vec<u64>,
    },
}

/// Carries presence between nodes. Nothing is stored, and what is said may be lost: the receiver
/// finds that from the numbers.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait PresenceExchange: Send + Sync {
    /// Returns this node's name.
    fn node(&self) -> NodeName;

    /// Says something to the other nodes, in the order of the calls. Returns at once. It is lost
    /// if they cannot be reached, or if too much is waiting.
    fn publish(&self, news: PresenceNews);

    /// Sets the listener. It receives what other nodes say, for as long as it lives.
    fn listen(&self, listener: Weak<dyn PresenceListener>);
}

/// Receives what other nodes say. No method may block.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
pub trait PresenceListener: Send + Sync {
    /// The other nodes can be reached from now on. What they have said before is unknown.
    fn connected(&self);

    /// The other nodes cannot be reached any more.
    fn disconnected(&self);

    /// A node has said something.
    fn on_news(&self, from: NodeName, news: PresenceNews);
}
