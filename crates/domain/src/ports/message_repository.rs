//! The log of all rooms.

use async_trait::async_trait;

use crate::{Message, NewMessage, RoomId, Seq, StorageError};

/// Stores messages, and reads them in order.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait MessageRepository: Send + Sync {
    /// Stores a message as its room's next one, its author's name as the latest
    /// known, and moves the author's read pointer to it: all or nothing.
    ///
    /// - When this returns [`Appended::Stored`], the message is committed, as
    ///   durably as the database is configured.
    /// - A room's numbers are 1, 2, 3 … without holes, in the order of the
    ///   commits, whoever appends at the same time, from whichever process. The
    ///   first message brings the room into being.
    /// - Calls take their place in the order in which their futures are first polled
    ///   (in that first poll, before anything else is waited for), and messages for
    ///   one room are stored in that order: also when many are in progress and
    ///   nobody awaits one before making the next, and also when the outcome of an
    ///   earlier one was unknown and it is stored later.
    /// - A call that was polled once is carried out, whether its future is dropped or
    ///   not.
    /// - A message that cannot be stored harms none of those stored with it.
    /// - A message with a `client_message_id` that its author has used in this
    ///   room before is not stored again, also if many try at once: it is
    ///   [`Appended::Repeat`] if the content is the same.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] if the id was used for another content;
    /// otherwise [`StorageError::Unavailable`] if the message is certainly not
    /// stored, [`StorageError::OutcomeUnknown`] if the connection to storage broke
    /// while it was committed. An answer comes within seconds, whatever happens; when
    /// too many calls wait, a further one is [`StorageError::Unavailable`] at once.
    async fn append(&self, message: NewMessage) -> Result<Appended, AppendError>;

    /// The room's messages after the position, ascending, `limit` at the most;
    /// empty if there are none. Authors have their latest stored names.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: usize,
    ) -> Result<Vec<Message>, StorageError>;

    /// The room's last messages before the position, ascending, `limit` at the
    /// most; before its end if there is no position. Authors have their latest
    /// stored names.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    async fn before(
        &self,
        room_id: RoomId,
        position: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>, StorageError>;
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is stored now.
    Stored(Message),
    /// It was stored before; this is how, with its author's latest stored name.
    Repeat(Message),
}

/// Why a message was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Its author used its `client_message_id` in this room for another content.
    #[error("the id was used for another content")]
    Conflict,
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
