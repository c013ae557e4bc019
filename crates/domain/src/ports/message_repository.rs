//! The log of all rooms.

use async_trait::async_trait;

use crate::{Generation, Message, NewMessage, RoomId, Seq, StorageError};

/// Stores messages, and reads them in order.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait MessageRepository: Send + Sync {
    /// Stores a message as the next one in its room, its author's name as the latest
    /// known, and moves the author's read pointer to the message: all or nothing. (A name
    /// that the same process stored in the last ten seconds may be taken as stored.)
    ///
    /// - When this returns [`Appended::Stored`], the message is committed, as durably as
    ///   the database is configured.
    /// - A room's positions are 1, 2, 3 … without gaps, in commit order, however many
    ///   processes append concurrently. The first message creates the room.
    /// - Calls take their place in the order in which their futures are first polled (in
    ///   that first poll, before anything is awaited), and messages for one room are
    ///   stored in that order: also when many calls are in progress at once, and also
    ///   when the outcome of an earlier one is unknown and it is stored later.
    /// - A message is stored only if its room has the number of rules by which it was decided
    ///   at that moment. (A room without rules has [`RulesNumber::NONE`](crate::RulesNumber).)
    /// - A call that was polled once is carried out even if its future is dropped.
    /// - A message that cannot be stored does not affect the messages stored with it.
    /// - A message with a `client_message_id` that its author has already used in this
    ///   room is not stored again, however many calls try concurrently: it is
    ///   [`Appended::Repeat`] if the content, including the extras, is the same. So it is if the
    ///   message was edited or deleted since, whatever its content is: what was sent originally is
    ///   not known any more, and a sender whose acknowledgement was lost must not get a conflict
    ///   because a moderator has deleted the message meanwhile. The id of an erased message is free.
    ///
    /// # Errors
    /// [`AppendError::RulesChanged`] if the room has another number of rules: the message is
    /// not stored, not even as a repeat. [`AppendError::Conflict`] if the id was already used with different content, and
    /// [`StorageError::Corrupt`] if the stored message is not valid.
    /// Otherwise [`StorageError::Unavailable`] if the message is certainly not stored, or
    /// [`StorageError::OutcomeUnknown`] if the outcome of the commit is unknown. The result
    /// arrives within seconds in every case; when too many calls are waiting, a further one
    /// is [`StorageError::Unavailable`] at once.
    async fn append(&self, message: NewMessage) -> Result<Appended, AppendError>;

    /// Reads the room's messages after the position, oldest first, in their newest state and with
    /// their authors' latest stored names. In a room without changes, changes cost nothing.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError>;

    /// Reads the room's last messages before the position, or before the end of the log
    /// if there is none. The page is in ascending order, with the authors' latest stored
    /// names.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn before(
        &self,
        room_id: RoomId,
        position: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError>;
}

/// How much one read of the log returns. A read takes messages in its direction until
/// the next one would exceed either bound; it returns at least one message if there is
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// The maximum number of messages.
    pub messages: usize,
    /// The maximum number of bytes of content, in UTF-8, and of extras, as they are stored.
    pub bytes: usize,
}

/// A part of a room's log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The messages, ascending.
    pub messages: Vec<Message>,
    /// Whether there are more messages in the direction of the read.
    pub has_more: bool,
    /// The room's newest assigned position, read before the messages; [`Seq::START`]
    /// without messages. It states how fresh the read is: every message up to this
    /// position that was not deleted is visible to it.
    pub newest: Seq,
    /// The room's generation at the moment of the read. A page of a room that is being deleted
    /// may lack messages: its generation has not begun.
    pub generation: Generation,
}

/// The result of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The message is now stored.
    Stored(Message),
    /// The message had already been stored, like this, with its author's latest stored
    /// name.
    Repeat(Message),
}

/// Why a message was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The author already used the `client_message_id` in this room with different
    /// content.
    #[error("the clientMessageId was already used with different content")]
    Conflict,
    /// The rules of the room are not those by which the message was decided.
    #[error("the rules have changed")]
    RulesChanged,
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
