//! What goes wrong outside of the domain: opaque, but certain about one thing.

/// An error of an adapter, as the domain sees it: something to log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Storage did not do what it was asked. What matters to a sender is not why,
/// but whether the message may be stored all the same.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Storage is away, too slow or refuses. Nothing was stored, and nothing will
    /// be.
    #[error("storage did not take it")]
    Unavailable(#[source] BoxError),
    /// Storage broke during the commit: it may have been stored, or not.
    #[error("storage broke during the commit")]
    OutcomeUnknown(#[source] BoxError),
}

impl StorageError {
    /// Nothing was stored, for this reason.
    pub fn unavailable(reason: impl Into<BoxError>) -> Self {
        Self::Unavailable(reason.into())
    }

    /// Whether it was stored is not known, for this reason.
    pub fn outcome_unknown(reason: impl Into<BoxError>) -> Self {
        Self::OutcomeUnknown(reason.into())
    }
}
