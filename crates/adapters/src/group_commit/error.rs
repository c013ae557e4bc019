//! One error for all senders of a batch.

use std::fmt;
use std::sync::Arc;

use chat_domain::{BoxError, StorageError};

/// A [`StorageError`] that can be cloned.
#[derive(Clone)]
pub(super) enum BatchError {
    Unavailable(SharedError),
    OutcomeUnknown(SharedError),
    Corrupt(SharedError),
}

impl BatchError {
    pub(super) fn unavailable(reason: impl Into<BoxError>) -> Self {
        Self::Unavailable(SharedError(Arc::from(reason.into())))
    }

    /// Returns the same error for requests that were certainly not carried out.
    pub(super) fn for_untried(self) -> Self {
        let (Self::Unavailable(reason) | Self::OutcomeUnknown(reason) | Self::Corrupt(reason)) =
            self;
        Self::Unavailable(reason)
    }

    pub(super) fn to_storage_error(&self) -> StorageError {
        match self.clone() {
            Self::Unavailable(reason) => StorageError::unavailable(reason),
            Self::OutcomeUnknown(reason) => StorageError::outcome_unknown(reason),
            Self::Corrupt(reason) => StorageError::corrupt(reason),
        }
    }
}

impl From<StorageError> for BatchError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unavailable(reason) => Self::unavailable(reason),
            StorageError::OutcomeUnknown(reason) => {
                Self::OutcomeUnknown(SharedError(Arc::from(reason)))
            }
            StorageError::Corrupt(reason) => Self::Corrupt(SharedError(Arc::from(reason))),
        }
    }
}

/// An error with many owners. It is displayed, and has the source, of the error itself.
#[derive(Debug, Clone)]
pub(super) struct SharedError(Arc<dyn std::error::Error + Send + Sync>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SharedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
