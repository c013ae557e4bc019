//! Signals: what users do at this moment. They are never stored, and may be lost.

use crate::User;

/// A user begins to type in a room, goes on, or stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypingSignal {
    /// The user, under the name in its token.
    pub user: User,
    /// Whether it is typing.
    pub typing: bool,
}
