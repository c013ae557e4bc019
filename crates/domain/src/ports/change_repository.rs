//! Changes to stored messages.

use async_trait::async_trait;

use crate::ports::ReadLimit;
use crate::{
    ChangedMessage, Generation, Message, MessageEdit, ReactionKey, Rev, RoomId, RulesNumber, Seq,
    StorageError, UserId,
};

/// Changes stored messages, and reads what has changed, in order.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait ChangeRepository: Send + Sync {
    /// Returns a message in its newest state, under its author's latest stored name; `None` if the
    /// room has none at this position.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn message(&self, room_id: RoomId, seq: Seq) -> Result<Option<Message>, StorageError>;

    /// Changes a message: a transaction takes the room's next [`Rev`] under the lock under which
    /// messages take their numbers. Concurrent changes may share it: each has its own outcome, and
    /// one that cannot be stored fails alone.
    ///
    /// - Changes of a room are made in the order of the first polls of these futures, and also if
    ///   the futures are dropped later.
    /// - When this returns a change, it is committed, as durably as the database is configured.
    /// - A room's changes are numbered 1, 2, 3 … without gaps, in commit order, however many
    ///   processes change concurrently.
    /// - What is already so takes no number and writes nothing: a text that the message has, a
    ///   reaction that is set or clear, the deletion of a message that is deleted or erased, the
    ///   erasure of one that is erased. A deleted message can be erased.
    /// - A change is made only if the room has the number of rules by which it was decided, at
    ///   that moment. That is compared first: also for what is already so, and for a message that
    ///   does not exist.
    /// - Reactions are counted exactly, however many users set them concurrently. A key that
    ///   nobody has set any more is gone: set again, it comes last. The user of a reaction need not
    ///   be known: its name is its id then.
    /// - A change moves neither read pointers, nor the activity by which inboxes are ordered. It is
    ///   reported by [`changed_since`](crate::ports::RoomRepository::changed_since).
    /// - A deleted message keeps its position and its author. Its text is
    ///   [`Content::deleted`](crate::Content::deleted); what it carried besides it and its
    ///   reactions are removed. An erased one also loses its author (it is the user `deleted`),
    ///   its `clientMessageId` and its times of change. No table holds what was removed.
    ///
    /// # Errors
    /// [`MessageChangeError`].
    async fn change(&self, change: MessageChange) -> Result<MadeChange, MessageChangeError>;

    /// Reads the room's messages that changed after the number, in their newest state, by their
    /// latest changes, ascending; those up to a position, if one is given. Authors have their
    /// latest stored names. The cost depends on the number of messages that changed after the
    /// number, not on that of the room's messages.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn changed_after(
        &self,
        room_id: RoomId,
        after: Rev,
        up_to: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<ChangesPage, StorageError>;

    /// Reads who has set a reaction, by user id, ascending; at most `limit` after the user.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn reacting_users(
        &self,
        room_id: RoomId,
        seq: Seq,
        key: ReactionKey,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<ReactingUsers, StorageError>;

    /// Returns which reactions to these messages the user has set, in any order.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn own_reactions(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        messages: &[Seq],
    ) -> Result<Vec<(Seq, ReactionKey)>, StorageError>;
}

/// A change that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageChange {
    /// The room.
    pub room_id: RoomId,
    /// The message's position.
    pub seq: Seq,
    /// What is done to it.
    pub edit: MessageEdit,
    /// Who does it; `None`: the product.
    pub by: Option<UserId>,
    /// The number of the room's rules by which it was decided.
    pub rules: RulesNumber,
}

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeChange {
    /// The message in its newest state.
    pub message: Message,
    /// Whether this call changed it.
    pub is_new: bool,
}

/// Why a message was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MessageChangeError {
    /// The room has no message at this position.
    #[error("the message does not exist")]
    NotFound,
    /// The message is deleted or erased, which is final: it takes no text and no reactions, and
    /// has none to clear.
    #[error("the message is deleted")]
    Deleted,
    /// The message has [`ReactionKey::MAX_PER_MESSAGE`] other keys.
    #[error("the message has too many different reactions")]
    TooManyReactions,
    /// The rules of the room are not those by which the change was decided.
    #[error("the rules have changed")]
    RulesChanged,
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A part of what has changed in a room.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ChangesPage {
    /// The messages, ascending by their latest change.
    pub messages: Vec<ChangedMessage>,
    /// Whether there are more after these, up to the position.
    pub has_more: bool,
    /// The number of the room's newest change, to any of its messages. It is read before the
    /// messages, so the page misses no change up to this one.
    pub newest: Rev,
    /// The room's generation at the moment of the read.
    pub generation: Generation,
}

/// Users who have set a reaction.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReactingUsers {
    /// The users, under their latest stored names.
    pub users: Vec<crate::User>,
    /// Whether there are more after these.
    pub has_more: bool,
}
