//! The state of rooms and of their readers.

use async_trait::async_trait;

use crate::{ReadState, RoomId, Seq, StorageError, UserId};

/// Stores how far rooms have come, and how far users have read them.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RoomRepository: Send + Sync {
    /// Returns the newest stored position of each of these rooms, in any order; rooms
    /// without messages are omitted. Every append that returned before this call is
    /// included. Writes nothing.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn newest(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, StorageError>;

    /// Returns how far the room has come and how far the user has read it. Every append
    /// that returned before this call is included. Writes nothing.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn read_state(
        &self,
        room_id: RoomId,
        user_id: &UserId,
    ) -> Result<ReadState, StorageError>;

    /// Moves the user's read pointer forward to the position, or to the room's newest
    /// position if that is smaller. The pointer never moves back, whatever else moves it
    /// concurrently. A call that moves nothing writes nothing, and many concurrent calls
    /// are combined, so that they do not delay appends.
    ///
    /// # Errors
    /// [`StorageError`]. In each case the pointer may have moved; a retry is harmless.
    async fn mark_read(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        position: Seq,
    ) -> Result<MarkedRead, StorageError>;
}

/// The result of marking a room as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkedRead {
    /// The state of the room and the pointer afterwards.
    pub state: ReadState,
    /// Whether this call moved the pointer.
    pub moved: bool,
}
