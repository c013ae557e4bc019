//! Deletes rooms: first they are closed, then what they contain is deleted in batches.

use async_trait::async_trait;

use crate::{Generation, RoomId, StorageError};

/// Closes rooms, and deletes what closed rooms contain.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RoomDeletion: Send + Sync {
    /// Closes a room, in one short transaction. It is idempotent.
    ///
    /// - The room gets the next number of rules. Once this has returned, no process appends to
    ///   the room (see [`MessageRepository::append`](super::MessageRepository::append)), changes
    ///   its rules, or moves a read pointer there.
    /// - The room gets the generation that follows. Every read that states a generation, and
    ///   begins after this has returned, states that one.
    /// - The room counts as changed (see
    ///   [`RoomRepository::changed_since`](super::RoomRepository::changed_since)).
    ///
    /// # Errors
    /// [`StorageError`]. [`StorageError::OutcomeUnknown`] if the room may have been closed; a
    /// retry is harmless.
    async fn close(&self, room_id: RoomId) -> Result<Closing, StorageError>;

    /// Deletes at most `rows` rows of one closed room, in one transaction: messages, then read
    /// pointers, members, bans, mutes and turns, and, with the last batch, the settings. With
    /// that batch the room's next generation begins: no message, no rules, the first position
    /// again. Returns `None` if nothing is due.
    ///
    /// - A room is due two seconds after it was closed: what was decided before has ended.
    /// - Of concurrent calls, in whichever processes, each deletes from another room. A call
    ///   never waits for another one, nor for an append to another room, and appends do not wait
    ///   for it.
    /// - After a crash at any moment, the next call goes on.
    /// - The names of users are kept.
    ///
    /// # Errors
    /// [`StorageError`]. A retry is harmless.
    async fn delete_batch(&self, rows: usize) -> Result<Option<DeletedBatch>, StorageError>;

    /// Returns how many rooms are being deleted.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn closed_rooms(&self) -> Result<u64, StorageError>;
}

/// What closing a room found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The room was open, and is closed now. The generation follows.
    Closed(Generation),
    /// The room is being deleted already. The generation follows.
    AlreadyClosed(Generation),
    /// No room has this number: it has no message and no settings.
    NotFound,
}

/// A part of a room that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedBatch {
    /// The room.
    pub room_id: RoomId,
    /// How many rows were deleted.
    pub rows: u64,
    /// Whether it is the first batch of the room.
    pub is_first: bool,
    /// Whether it is the last batch of the room: its number may be used again.
    pub is_last: bool,
}
