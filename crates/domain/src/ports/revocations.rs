//! Knows which tokens are revoked.

use async_trait::async_trait;

use crate::{BoxError, Identity};

/// Knows which tokens an operator has revoked. Asked whenever a token is presented, after its
/// signature and its claims were verified. A node answers from its memory, which follows
/// [`Sanctions`](crate::ports::Sanctions): a handshake must not cost a query.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Revocations: Send + Sync {
    /// Returns whether the token that states this identity is revoked.
    ///
    /// # Errors
    /// [`RevocationsUnreachable`], within seconds: the node does not know what was revoked lately.
    async fn is_revoked(&self, identity: &Identity) -> Result<bool, RevocationsUnreachable>;
}

/// The error when it is not known whether a token is revoked.
#[derive(Debug, thiserror::Error)]
#[error("revocations cannot be read now")]
pub struct RevocationsUnreachable(#[source] pub BoxError);
