//! Reports whether storage can be written.

use async_trait::async_trait;

use crate::StorageError;

/// The state of the storage behind the repositories.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait StorageHealth: Send + Sync {
    /// Checks, on the path that stores messages, that a write would be accepted now.
    /// Stores nothing. Fails on a read-only database, and when the task that stores
    /// messages has ended.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    async fn check_writable(&self) -> Result<(), StorageError>;

    /// Returns how the connections that read are used now.
    fn pool(&self) -> PoolStatus;

    /// Completes when a task that storage needs in order to work has ended, with that
    /// task's name. Never completes otherwise.
    async fn stopped(&self) -> &'static str;
}

/// How a bounded number of connections is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStatus {
    /// The maximum number of connections.
    pub max: usize,
    /// The connections that are open.
    pub open: usize,
    /// The connections that are in use.
    pub in_use: usize,
}
