//! Which users share rooms, and when users were last seen.

use async_trait::async_trait;

use crate::{DisplayName, RoomAccess, StorageError, Timestamp, UserId};

/// Knows which users share membership of a room, and when users were last online.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Acquaintances: Send + Sync {
    /// Returns for each of these users, at most a thousand, when it was last seen, if it shares
    /// membership of a room with `user_id`; `None` if it does not. Rooms outside of `access`, and
    /// those that are being deleted, do not count. Every change of memberships, and every call of
    /// [`note_seen`](Self::note_seen), that returned before this call is included.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Corrupt`].
    async fn among(
        &self,
        user_id: &UserId,
        access: &RoomAccess,
        others: &[UserId],
    ) -> Result<Vec<Option<Acquaintance>>, StorageError>;

    /// Stores when users, each once and at most a thousand, were last seen. A time that is
    /// earlier than the stored one changes nothing; none removes it. A user of whom nothing is
    /// stored, not even its name, is left out unless its name is given; the stored name does not
    /// change.
    ///
    /// # Errors
    /// [`StorageError`]. A repeat is harmless.
    async fn note_seen(&self, seen: &[LastSeen]) -> Result<(), StorageError>;
}

/// A user that shares a room with another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acquaintance {
    /// When its last connection ended; `None` if that is not known.
    pub last_seen: Option<Timestamp>,
}

/// When a user was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSeen {
    /// The user.
    pub user_id: UserId,
    /// Its name, if it is known.
    pub name: Option<DisplayName>,
    /// When its last connection ended; `None` if that is hidden.
    pub at: Option<Timestamp>,
}
