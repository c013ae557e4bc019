//! The log of all rooms.

use async_trait::async_trait;

use crate::{Message, NewMessage, RoomId, Seq, StorageError};

/// Stores messages, and reads them in order.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait MessageRepository: Send + Sync {
    /// Stores a message as its room's next one, and its author's name as the
    /// latest known: both or neither.
    ///
    /// - When this returns `Ok`, the message is committed, as durably as the
    ///   database is configured.
    /// - A room's numbers are 1, 2, 3 … without holes, in the order of the
    ///   commits, whoever appends at the same time, from whichever process. The
    ///   first message brings the room into being.
    /// - Of two calls by one caller, the first awaited before the second is made,
    ///   the first has the lower number.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] if the message is certainly not stored;
    /// [`StorageError::OutcomeUnknown`] if the connection to storage broke while
    /// it was committed. An answer comes within seconds, whatever happens.
    async fn append(&self, message: NewMessage) -> Result<Message, StorageError>;

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
}
