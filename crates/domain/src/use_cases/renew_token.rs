//! A connected client presents a new token.

use super::{Connect, ConnectError};
use crate::Identity;

/// Determines what a connection may do from now on.
#[derive(Clone)]
pub struct RenewToken {
    connect: Connect,
}

/// Why a token does not replace the connection's own, which stays in force.
#[derive(Debug, thiserror::Error)]
pub enum RenewTokenError {
    /// No client could connect with it.
    #[error(transparent)]
    Refused(#[from] ConnectError),
    /// The token is another user's.
    #[error("the token is for another user")]
    AnotherUser,
}

impl RenewToken {
    /// Creates the use case, which accepts the tokens with which a client can connect.
    pub fn new(connect: Connect) -> Self {
        Self { connect }
    }

    /// Verifies the new token of a connection with this identity, and returns the identity
    /// that it states. The user cannot change; everything else can. What the access hook has
    /// granted remains.
    ///
    /// # Errors
    /// [`RenewTokenError`].
    pub async fn execute(
        &self,
        current: &Identity,
        token: &str,
    ) -> Result<Identity, RenewTokenError> {
        let mut renewed = self.connect.execute(Some(token)).await?;
        if let Some(grants) = &current.grants {
            renewed.grants = renewed.grants.map(|renewed| renewed.continuing(grants));
        }
        match renewed.user.id == current.user.id {
            true => Ok(renewed),
            false => Err(RenewTokenError::AnotherUser),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ports::{AuthenticationError, MockAuthenticator, MockRevocations};
    use crate::{DisplayName, Grants, Role, RoomAccess, RoomId, Timestamp, User, UserId};

    fn identity(user: &str, name: &str) -> Identity {
        Identity {
            user: User {
                id: UserId::new(user).unwrap(),
                name: DisplayName::from_text(name),
            },
            rooms: RoomAccess::All,
            visibility: crate::Visibility::Visible,
            issued_at: None,
            expires_at: Timestamp::from_unix_millis(0),
            valid_until: Timestamp::from_unix_millis(0),
            grants: None,
        }
    }

    /// Renews Ada's token with one about which the authenticator says this.
    async fn renew(
        stated: Result<Identity, AuthenticationError>,
        is_revoked: bool,
    ) -> Result<Identity, RenewTokenError> {
        let mut authenticator = MockAuthenticator::new();
        authenticator
            .expect_authenticate()
            .withf(|token| token == "new")
            .return_once(|_| stated);
        let mut revocations = MockRevocations::new();
        revocations
            .expect_is_revoked()
            .returning(move |_| Ok(is_revoked));
        let connect = Connect::new(Arc::new(authenticator), Arc::new(revocations));
        let renew = RenewToken::new(connect);
        renew.execute(&identity("42", "Ada"), "Bearer new").await
    }

    #[pollster::test]
    async fn everything_but_the_user_may_change() {
        let renewed = Identity {
            rooms: RoomAccess::Only([].into()),
            ..identity("42", "Ada L.")
        };
        assert_eq!(renew(Ok(renewed.clone()), false).await.unwrap(), renewed);
        assert!(matches!(
            renew(Ok(identity("43", "Ada")), false).await,
            Err(RenewTokenError::AnotherUser)
        ));
    }

    #[pollster::test]
    async fn what_the_access_hook_has_granted_survives_a_new_token() {
        let room = RoomId::new(1).unwrap();
        let current = Grants::new("old");
        current.grant(room, Role::Owner);
        let current = Identity {
            grants: Some(current),
            ..identity("42", "Ada")
        };
        let stated = Identity {
            grants: Some(Grants::new("new")),
            ..identity("42", "Ada")
        };
        let mut authenticator = MockAuthenticator::new();
        authenticator
            .expect_authenticate()
            .return_once(|_| Ok(stated));
        let mut revocations = MockRevocations::new();
        revocations.expect_is_revoked().returning(|_| Ok(false));
        let connect = Connect::new(Arc::new(authenticator), Arc::new(revocations));
        let renewed = RenewToken::new(connect).execute(&current, "new").await;
        let renewed = renewed.unwrap();
        assert_eq!(renewed.granted(room), Some(Role::Owner));
        assert_eq!(renewed.grants.as_ref().unwrap().claims(), "new");
        renewed.end_grant(room);
        assert_eq!(current.granted(room), None);
    }

    #[pollster::test]
    async fn a_token_with_which_no_client_can_connect_is_refused() {
        for (outcome, expected) in [
            (renew(Ok(identity("42", "Ada")), true).await, "is revoked"),
            (
                renew(Err(AuthenticationError::Expired), false).await,
                "has expired",
            ),
            (
                renew(Err(AuthenticationError::Invalid("x".into())), false).await,
                "is invalid",
            ),
            (
                renew(Err(AuthenticationError::Unavailable("x".into())), false).await,
                "cannot be verified now",
            ),
        ] {
            let error = outcome.unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }
}
