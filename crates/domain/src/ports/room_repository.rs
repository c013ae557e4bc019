//! What is known of rooms.

use async_trait::async_trait;

use crate::{RoomId, Seq, StorageError};

/// Knows how far rooms have come.
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
}
