//! JSON Web Tokens, signed with HS256 by the product itself.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use chat_domain::{
    DisplayName, Identity, RoomAccess, RoomId, Timestamp, User, UserId,
    ports::{AuthenticationError, Authenticator, Clock as _},
};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::SystemClock;

/// A shared secret of at least [`Secret::MIN_BYTES`] bytes. Its `Debug` does not
/// show it.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// The error for a secret that is short enough to guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has {bytes} bytes; HS256 needs at least {}", Secret::MIN_BYTES)]
pub struct WeakSecret {
    bytes: usize,
}

impl Secret {
    /// The size of the hash: RFC 7518, section 3.2, requires a key of at least this size.
    pub const MIN_BYTES: usize = 32;

    /// Creates a secret.
    ///
    /// # Errors
    /// [`WeakSecret`] if it is shorter than [`Self::MIN_BYTES`].
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, WeakSecret> {
        let bytes = bytes.into();
        if bytes.len() < Self::MIN_BYTES {
            return Err(WeakSecret { bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// Mints a token for this user, valid from `now` for `ttl`.
    ///
    /// # Errors
    /// When jsonwebtoken cannot sign, which does not happen with a valid secret.
    pub fn mint(
        &self,
        user: &User,
        claims: MintedClaims<'_>,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        #[derive(Serialize)]
        struct Claims<'a> {
            sub: &'a str,
            name: &'a str,
            iat: i64,
            exp: i64,
            #[serde(skip_serializing_if = "Option::is_none")]
            iss: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            aud: Option<&'a str>,
        }
        let iat = now.unix_millis().div_euclid(1000);
        let ttl = i64::try_from(claims.ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            sub: user.id.as_str(),
            name: user.name.as_str(),
            iat,
            exp: iat.saturating_add(ttl),
            iss: claims.issuer,
            aud: claims.audience,
        };
        self.sign(&claims)
    }

    /// Signs any claims with HS256 and returns the token, for tools whose tokens differ
    /// from those of [`Secret::mint`].
    ///
    /// # Errors
    /// The claims are not a JSON object.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        let key = EncodingKey::from_secret(&self.0);
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a minted token states in addition to the user.
#[derive(Debug, Clone, Copy)]
pub struct MintedClaims<'a> {
    /// How long it is valid.
    pub ttl: Duration,
    /// The `iss` claim, if the gateway checks it.
    pub issuer: Option<&'a str>,
    /// The `aud` claim, if the gateway checks it.
    pub audience: Option<&'a str>,
}

/// What tokens are verified against.
#[derive(Debug, Clone)]
pub struct JwtOptions {
    /// The secret that signs tokens.
    pub secret: Secret,
    /// The secret that signed tokens before, for verification only.
    pub previous_secret: Option<Secret>,
    /// The required `iss` claim, if any.
    pub issuer: Option<String>,
    /// The audience that `aud` must be or contain, if any.
    pub audience: Option<String>,
    /// The maximum difference between the clocks of issuer and gateway.
    pub leeway: Duration,
}

/// Verifies HS256 tokens. Algorithm and keys are fixed: a token's header (`alg`, `kid`,
/// `jku`, `jwk`, `x5u`) cannot choose others, and a header with `crit` is refused.
pub struct JwtAuthenticator {
    keys: Vec<DecodingKey>,
    validation: Validation,
}

impl JwtAuthenticator {
    /// Creates an authenticator from its options.
    pub fn new(options: &JwtOptions) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = options.leeway.as_secs();
        validation.validate_nbf = true;
        // `sub` is checked below, because jsonwebtoken refuses one that is a number.
        validation.set_required_spec_claims(&["exp"]);
        if let Some(issuer) = &options.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".into());
        }
        match &options.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".into());
            }
            // A token may have an audience that is not configured here.
            None => validation.validate_aud = false,
        }
        let secrets = std::iter::once(&options.secret).chain(&options.previous_secret);
        Self {
            keys: secrets
                .map(|secret| DecodingKey::from_secret(&secret.0))
                .collect(),
            validation,
        }
    }

    fn claims(&self, token: &str) -> Result<Claims, AuthenticationError> {
        let mut outcome = Err(ErrorKind::InvalidSignature.into());
        for key in &self.keys {
            outcome = jsonwebtoken::decode::<Claims>(token, key, &self.validation);
            let Err(error) = &outcome else { break };
            if *error.kind() != ErrorKind::InvalidSignature {
                break;
            }
        }
        match outcome {
            // RFC 7515, section 4.1.11: no extension is supported here, so none may be
            // critical. jsonwebtoken ignores the list.
            Ok(token) if token.header.crit.is_some() => Err(AuthenticationError::Invalid(
                "the header's crit requires extensions that are not supported".into(),
            )),
            Ok(token) => Ok(token.claims),
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => {
                Err(AuthenticationError::Expired)
            }
            Err(error) => Err(AuthenticationError::Invalid(error.into())),
        }
    }
}

#[async_trait]
impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, token: &str) -> Result<Identity, AuthenticationError> {
        let claims = self.claims(token)?;
        let identity = claims
            .identity(self.validation.leeway)
            .map_err(|why| AuthenticationError::Invalid(why.into()))?;
        // jsonwebtoken counts whole seconds. A connection that ends because its token
        // expires must not be accepted again within the same second.
        if identity.valid_until <= SystemClock.now() {
            return Err(AuthenticationError::Expired);
        }
        Ok(identity)
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<Value>,
    exp: f64,
    name: Option<Value>,
    username: Option<Value>,
    preferred_username: Option<Value>,
    rooms: Option<Value>,
}

impl Claims {
    fn identity(self, leeway: u64) -> Result<Identity, &'static str> {
        let subject = match self.sub {
            Some(Value::String(subject)) => subject,
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
            Some(_) => return Err("sub is neither a string nor an integer"),
            None => return Err("sub is missing"),
        };
        let name = [self.name, self.username, self.preferred_username]
            .into_iter()
            .find_map(|claim| match claim {
                Some(Value::String(name)) if !name.trim().is_empty() => Some(name),
                _ => None,
            });
        let user = User {
            name: DisplayName::from_text(name.as_deref().unwrap_or(&subject)),
            id: UserId::new(subject).map_err(|_| "sub is empty, too long or contains NUL")?,
        };
        let rooms = match self.rooms {
            None | Some(Value::Null) => RoomAccess::All,
            Some(Value::Array(rooms)) => RoomAccess::Only(
                rooms
                    .iter()
                    // An integer that is not a valid room number admits to no room.
                    .filter_map(|room| match room {
                        Value::Number(n) if n.is_i64() || n.is_u64() => {
                            Some(Ok(n.as_u64().and_then(|n| RoomId::new(n).ok())?))
                        }
                        _ => Some(Err("rooms contains a value that is not an integer")),
                    })
                    .collect::<Result<BTreeSet<_>, _>>()?,
            ),
            Some(_) => return Err("rooms is not an array of integers"),
        };
        // Rounded down to seconds, as jsonwebtoken does.
        let valid_until = (self.exp.floor() + leeway as f64) * 1000.0;
        Ok(Identity {
            user,
            rooms,
            // `as` saturates.
            valid_until: Timestamp::from_unix_millis(valid_until as i64),
        })
    }
}

#[cfg(test)]
mod tests;
