//! HS256 secrets: they sign tokens for commands and tools, and verify them.

use std::time::Duration;

use chat_domain::{Timestamp, User};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;

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

    pub(super) fn decoding_key(&self) -> DecodingKey {
        DecodingKey::from_secret(&self.0)
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
