//! No token can be revoked yet.

use async_trait::async_trait;
use chat_domain::Identity;
use chat_domain::ports::{Revocations, RevocationsUnreachable};

/// Revokes nothing: every token is valid until it expires.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRevocations;

#[async_trait]
impl Revocations for NoRevocations {
    async fn is_revoked(&self, _: &Identity) -> Result<bool, RevocationsUnreachable> {
        Ok(false)
    }
}
