//! The demo page's users and their tokens.

use std::sync::Arc;

use chat_domain::{BoxError, DisplayName, User, UserId};

/// The demo page. Every browser that can load it can write as its users.
#[derive(Clone)]
pub struct Demo {
    /// Mints a token for one of the page's users.
    pub mint: Arc<MintToken>,
}

/// Mints a token that the gateway accepts for this user.
pub type MintToken = dyn Fn(&User) -> Result<String, BoxError> + Send + Sync;

/// Returns the demo's users.
pub(crate) fn demo_users() -> Vec<User> {
    [("1", "Ada"), ("2", "Grace")]
        .into_iter()
        .filter_map(|(id, name)| {
            Some(User {
                id: UserId::new(id).ok()?,
                name: DisplayName::from_text(name),
            })
        })
        .collect()
}
