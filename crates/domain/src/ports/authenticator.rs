//! Who is behind a token.

use async_trait::async_trait;

use crate::{BoxError, Identity};

/// Verifies tokens.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// What the token (without a `Bearer ` before it) proves, now.
    ///
    /// # Errors
    /// [`AuthenticationError`]; its `Display` and source never contain the token
    /// nor a key.
    async fn authenticate(&self, token: &str) -> Result<Identity, AuthenticationError>;
}

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// It was valid once.
    #[error("the token has expired")]
    Expired,
    /// It never was: its signature, algorithm, issuer, audience or shape.
    #[error("the token is invalid")]
    Invalid(#[source] BoxError),
    /// The keys to verify it are out of reach.
    #[error("tokens cannot be verified now")]
    Unavailable(#[source] BoxError),
}
