//! A client connects with a token.

use std::sync::Arc;

use crate::{
    BoxError, Identity,
    ports::{AuthenticationError, Authenticator, Revocations},
};

/// Determines which user connects.
#[derive(Clone)]
pub struct Connect {
    authenticator: Arc<dyn Authenticator>,
    revocations: Arc<dyn Revocations>,
}

/// Why a client cannot connect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The client supplied no token.
    #[error("the token is missing")]
    TokenMissing,
    /// The token is invalid.
    #[error("the token is invalid")]
    TokenInvalid(#[source] BoxError),
    /// The token has expired.
    #[error("the token has expired")]
    TokenExpired,
    /// The token is revoked.
    #[error("the token is revoked")]
    TokenRevoked,
    /// Tokens cannot be verified now.
    #[error("tokens cannot be verified now")]
    Unavailable(#[source] BoxError),
}

impl Connect {
    /// Creates the use case over this authenticator and these revocations.
    pub fn new(authenticator: Arc<dyn Authenticator>, revocations: Arc<dyn Revocations>) -> Self {
        Self {
            authenticator,
            revocations,
        }
    }

    /// Verifies the token that came with the connection, with or without a leading
    /// `Bearer ` (case-insensitive), and returns the identity.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn execute(&self, token: Option<&str>) -> Result<Identity, ConnectError> {
        let token = without_scheme(token.ok_or(ConnectError::TokenMissing)?);
        if token.is_empty() {
            return Err(ConnectError::TokenInvalid("the token is empty".into()));
        }
        let identity = self.authenticator.authenticate(token).await?;
        match self.revocations.is_revoked(&identity).await {
            Ok(false) => Ok(identity),
            Ok(true) => Err(ConnectError::TokenRevoked),
            Err(error) => Err(ConnectError::Unavailable(error.into())),
        }
    }
}

impl From<AuthenticationError> for ConnectError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Expired => Self::TokenExpired,
            AuthenticationError::Invalid(source) => Self::TokenInvalid(source),
            AuthenticationError::Unavailable(source) => Self::Unavailable(source),
        }
    }
}

fn without_scheme(token: &str) -> &str {
    match token.split_at_checked("bearer ".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest,
        _ => token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{MockAuthenticator, MockRevocations, RevocationsUnreachable};
    use crate::{DisplayName, RoomAccess, Timestamp, User, UserId};

    fn ada() -> Identity {
        Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms: RoomAccess::All,
            visibility: crate::Visibility::Visible,
            issued_at: None,
            expires_at: Timestamp::from_unix_millis(0),
            valid_until: Timestamp::from_unix_millis(0),
            grants: None,
        }
    }

    fn connect(answer: fn(&str) -> Result<Identity, AuthenticationError>) -> Connect {
        connect_unless_revoked(answer, || Ok(false))
    }

    fn connect_unless_revoked(
        answer: fn(&str) -> Result<Identity, AuthenticationError>,
        is_revoked: fn() -> Result<bool, RevocationsUnreachable>,
    ) -> Connect {
        let mut authenticator = MockAuthenticator::new();
        authenticator.expect_authenticate().returning(answer);
        let mut revocations = MockRevocations::new();
        revocations
            .expect_is_revoked()
            .withf(|identity| *identity == ada())
            .returning(move |_| is_revoked());
        Connect::new(Arc::new(authenticator), Arc::new(revocations))
    }

    #[pollster::test]
    async fn a_valid_token_that_is_revoked_is_refused() {
        let revoked = connect_unless_revoked(|_| Ok(ada()), || Ok(true));
        assert!(matches!(
            revoked.execute(Some("t")).await,
            Err(ConnectError::TokenRevoked)
        ));
        let unknown =
            connect_unless_revoked(|_| Ok(ada()), || Err(RevocationsUnreachable("gone".into())));
        assert!(matches!(
            unknown.execute(Some("t")).await,
            Err(ConnectError::Unavailable(_))
        ));
    }

    #[pollster::test]
    async fn a_leading_bearer_is_removed_in_any_case() {
        let connect = connect(|token| {
            assert_eq!(token, "abc");
            Ok(ada())
        });
        for token in ["abc", "Bearer abc", "bearer abc", "BEARER abc"] {
            assert_eq!(
                connect.execute(Some(token)).await.unwrap(),
                ada(),
                "{token}"
            );
        }
    }

    #[pollster::test]
    async fn a_token_without_a_scheme_is_verified_as_it_is() {
        let connect = connect(|token| {
            assert_eq!(token, "header.payload.signature");
            Ok(ada())
        });
        let verified = connect.execute(Some("header.payload.signature")).await;
        assert_eq!(verified.unwrap(), ada());
    }

    #[pollster::test]
    async fn an_absent_token_is_missing_and_an_empty_one_is_invalid() {
        let connect = connect(|_| unreachable!("there is nothing to verify"));
        assert!(matches!(
            connect.execute(None).await,
            Err(ConnectError::TokenMissing)
        ));
        for empty in ["", "Bearer "] {
            assert!(matches!(
                connect.execute(Some(empty)).await,
                Err(ConnectError::TokenInvalid(_))
            ));
        }
    }

    #[pollster::test]
    async fn the_reasons_for_a_refusal_are_distinguished() {
        let expired = connect(|_| Err(AuthenticationError::Expired));
        assert!(matches!(
            expired.execute(Some("t")).await,
            Err(ConnectError::TokenExpired)
        ));
        let invalid = connect(|_| Err(AuthenticationError::Invalid("signature".into())));
        assert!(matches!(
            invalid.execute(Some("t")).await,
            Err(ConnectError::TokenInvalid(_))
        ));
        let away = connect(|_| Err(AuthenticationError::Unavailable("keys".into())));
        assert!(matches!(
            away.execute(Some("t")).await,
            Err(ConnectError::Unavailable(_))
        ));
    }

    #[pollster::test]
    async fn a_token_that_is_not_ascii_does_not_panic() {
        let connect = connect(|token| {
            assert_eq!(token, "éééééééé");
            Err(AuthenticationError::Invalid("shape".into()))
        });
        assert!(connect.execute(Some("éééééééé")).await.is_err());
    }
}
