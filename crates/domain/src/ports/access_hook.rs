//! Asks the product about users without membership.

use async_trait::async_trait;

use crate::{BoxError, Role, RoomId, UserId};

/// Asks the product's backend whether a user that has no membership in a room may join it.
///
/// An answer may be one that was given before to the same question, for as long as the product
/// permits. Questions that are the same and are asked at the same time are asked once. Nothing
/// waits for an answer but the join that needs it, and that for seconds at most.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait AccessHook: Send + Sync {
    /// Returns the role that the user has in the room until its connection leaves it, or `None`
    /// if it may not join. `claims` are those of its token, a JSON object.
    ///
    /// # Errors
    /// [`NoAnswer`].
    async fn ask(
        &self,
        user_id: &UserId,
        room_id: RoomId,
        claims: &str,
    ) -> Result<Option<Role>, NoAnswer>;
}

/// The error when the product gives no answer, or gave none lately.
#[derive(Debug, thiserror::Error)]
#[error("the access hook gives no answer")]
pub struct NoAnswer(#[source] pub BoxError);
