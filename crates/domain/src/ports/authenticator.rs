//! Verifies tokens.

use async_trait::async_trait;

use crate::{BoxError, Identity};

/// Verifies tokens and returns what they state.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Verifies a token, without a leading `Bearer `, at the present time.
    ///
    /// # Errors
    /// [`AuthenticationError`]. Neither its `Display` nor its source ever contains the
    /// token or a key.
    async fn authenticate(&self, token: &str) -> Result<Identity, AuthenticationError>;
}

/// Why a token was refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// The token was valid and has expired.
    #[error("the token has expired")]
    Expired,
    /// The token's signature, algorithm, issuer, audience or shape is invalid.
    #[error("the token is invalid")]
    Invalid(#[source] BoxError),
    /// The keys that verify it are unreachable.
    #[error("tokens cannot be verified now")]
    Unavailable(#[source] BoxError),
}
