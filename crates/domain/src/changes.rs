//! Changes to messages after they were stored.

use crate::{Content, Message, Timestamp, UserId};

/// The number of a change in its room: 1, 2, 3 …, without gaps, in commit order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev(u64);

impl Rev {
    /// The number of a room in which no message has changed.
    pub const START: Self = Self(0);

    /// Creates a number; `None` if it is greater than [`MAX_NUMBER`](crate::MAX_NUMBER).
    pub fn new(value: u64) -> Option<Self> {
        (value <= crate::MAX_NUMBER).then_some(Self(value))
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Returns the next number.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What has become of a message since it was stored: its newest state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageChanges {
    /// The number of its latest change.
    pub rev: Rev,
    /// When it was edited last.
    pub edited_at: Option<Timestamp>,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// When it was erased.
    pub erased_at: Option<Timestamp>,
    /// Its reactions, in the order in which their keys were first set.
    pub reactions: Vec<ReactionCount>,
}

impl MessageChanges {
    /// Returns whether the message's content is not what its author sent: it was edited, deleted
    /// or erased.
    pub fn replaced_content(&self) -> bool {
        let times = [self.edited_at, self.deleted_at, self.erased_at];
        times.iter().any(Option::is_some)
    }
}

/// The reactions to a message with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReactionCount {
    /// The key.
    pub key: ReactionKey,
    /// How many users have set it, at least 1.
    pub count: u64,
}

/// What users react with, such as an emoji: 1 to 32 characters (Unicode scalar values), without
/// whitespace and without NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReactionKey(Box<str>);

/// The error for a text that is not a valid [`ReactionKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 32 characters, and no whitespace or NUL")]
pub struct InvalidReactionKey;

impl ReactionKey {
    /// How many distinct keys one message has at most.
    pub const MAX_PER_MESSAGE: usize = 20;

    /// Creates a key.
    ///
    /// # Errors
    /// [`InvalidReactionKey`].
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, InvalidReactionKey> {
        let text = text.into();
        let is_refused = |c: char| c.is_whitespace() || c == '\0';
        match (1..=32).contains(&text.chars().count()) && !text.contains(is_refused) {
            true => Ok(Self(text)),
            false => Err(InvalidReactionKey),
        }
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a message changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// Its text is another one.
    Edited,
    /// It was deleted.
    Deleted,
    /// A reaction was set or cleared.
    Reactions,
    /// It was erased: it is an empty shell.
    Erased,
}

impl ChangeKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Edited, Self::Deleted, Self::Reactions, Self::Erased];

    /// Returns the kind's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Deleted => "deleted",
            Self::Reactions => "reactions",
            Self::Erased => "erased",
        }
    }

    /// Returns the kind with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What is to be done to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageEdit {
    /// Gives it another text.
    Edit(Content),
    /// Deletes it.
    Delete,
    /// Sets or clears a user's reaction.
    React {
        /// The user.
        user_id: UserId,
        /// The reaction.
        key: ReactionKey,
        /// Whether it is set.
        on: bool,
    },
    /// Deletes it together with its author, its `clientMessageId` and its times of change.
    Erase,
}

/// A message in its newest state, and its latest change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedMessage {
    /// The message; its [`changes`](Message::changes) are present.
    pub message: Message,
    /// How it changed last.
    pub kind: ChangeKind,
    /// Who changed it last; `None`: the product.
    pub by: Option<UserId>,
    /// The number of the change that preceded its latest one; [`Rev::START`] without one. A
    /// reader that has everything up to an earlier number receives several changes as one.
    pub previous: Rev,
}
