//! What is known of rooms and of their readers.

use async_trait::async_trait;

use crate::{RoomId, Seq, Standing, StorageError, UserId};

/// Knows how far rooms have come, and how far users have read them.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RoomRepository: Send + Sync {
    /// The newest stored position of each of these rooms that has a message, in
    /// any order; a room without one is left out. Every append that returned
    /// before this call counts. Writes nothing.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    async fn newest(&self, rooms: &[RoomId]) -> Result<Vec<(RoomId, Seq)>, StorageError>;

    /// How far the room has come and how far the user has read it. Every append
    /// that returned before this call counts. Writes nothing.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    async fn standing(&self, room_id: RoomId, user_id: &UserId) -> Result<Standing, StorageError>;

    /// Moves the user's read pointer forward to the position, or to the room's
    /// newest if that is less; never back, whoever else moves it at the same time.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`]. The pointer may have moved all the same: it
    /// is harmless to try again.
    async fn mark_read(
        &self,
        room_id: RoomId,
        user_id: &UserId,
        position: Seq,
    ) -> Result<MarkedRead, StorageError>;
}

/// What marking a room as read did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkedRead {
    /// Where room and pointer stand now.
    pub standing: Standing,
    /// Whether this call moved the pointer.
    pub moved: bool,
}
