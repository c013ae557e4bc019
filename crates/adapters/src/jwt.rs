//! JSON Web Tokens: signed by the product itself with an HS256 secret, or by an issuer with
//! RS256, ES256 or EdDSA keys from a file or a JWKS URL.
//!
//! The configuration alone decides which keys and algorithms are accepted. Of a token's
//! header, `kid` selects among these keys; `jku`, `jwk`, `x5u` and `x5c` are ignored.

mod claims;
#[cfg(feature = "jwks")]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "jwks")]
mod jwk;
mod keys;
mod public_keys;
mod secret;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_domain::{
    BoxError, Grants, Identity,
    ports::{AuthenticationError, Authenticator, Clock as _},
};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, TokenData, Validation};

use self::claims::Claims;
use self::keys::VerificationKey;
use crate::SystemClock;
#[cfg(feature = "jwks")]
use crate::jwks::{Jwks, JwksOptions};

#[cfg(feature = "jwks")]
pub(crate) use self::jwk::{KeyDocument, UnusedKey};
pub(crate) use self::keys::KeySet;
pub use self::keys::{InvalidKeyAlgorithm, KeyAlgorithm};
pub use self::public_keys::{InvalidPublicKeys, PublicKeys};
pub use self::secret::{MintedClaims, Secret, WeakSecret};

/// A longer token is refused unread. Tokens travel in HTTP headers, for which servers and
/// proxies allow 8 to 16 KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What tokens are verified against.
#[derive(Debug, Clone)]
pub struct JwtOptions {
    /// The keys.
    pub keys: KeySource,
    /// The required `iss` claim, if any.
    pub issuer: Option<String>,
    /// The audience that `aud` must be or contain, if any.
    pub audience: Option<String>,
    /// The maximum difference between the clocks of issuer and gateway.
    pub leeway: Duration,
}

/// Where the keys come from that verify tokens.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// HS256 secrets.
    Secrets {
        /// The secret that signs tokens.
        current: Secret,
        /// The secret that signed tokens before, for verification only.
        previous: Option<Secret>,
    },
    /// Public keys that never change.
    PublicKeys(PublicKeys),
    /// Public keys that the issuer publishes.
    #[cfg(feature = "jwks")]
    Jwks(JwksOptions),
}

impl KeySource {
    fn algorithms(&self) -> Vec<Algorithm> {
        let public = |algorithms: &[KeyAlgorithm]| {
            let algorithms = algorithms.iter();
            algorithms.map(|algorithm| algorithm.of_tokens()).collect()
        };
        match self {
            Self::Secrets { .. } => vec![Algorithm::HS256],
            Self::PublicKeys(keys) => public(&keys.algorithms()),
            #[cfg(feature = "jwks")]
            Self::Jwks(options) => public(&options.algorithms),
        }
    }
}

/// Verifies tokens. A header with `crit` is refused.
pub struct JwtAuthenticator {
    keys: Keys,
    /// One for each accepted algorithm, because a key is used with its own only.
    validations: Vec<Validation>,
    issuer: Option<String>,
    leeway: Duration,
    claims: KeptClaims,
}

/// Whether identities keep all claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeptClaims {
    /// Only those that matter here, so that a connection does not need the memory.
    Some,
    /// All.
    All,
}

enum Keys {
    Fixed(Arc<KeySet>),
    #[cfg(feature = "jwks")]
    Published(Jwks),
}

impl JwtAuthenticator {
    /// Creates an authenticator from its options.
    ///
    /// # Errors
    /// The authorities that the system trusts cannot be read, which only a JWKS needs.
    pub fn new(options: &JwtOptions) -> Result<Self, BoxError> {
        let keys = match &options.keys {
            KeySource::Secrets { current, previous } => {
                let secrets = std::iter::once(current).chain(previous);
                let keys = secrets.map(|secret| VerificationKey::of_secret(secret.decoding_key()));
                Keys::Fixed(Arc::new(keys.collect()))
            }
            KeySource::PublicKeys(keys) => Keys::Fixed(keys.set()),
            #[cfg(feature = "jwks")]
            KeySource::Jwks(options) => Keys::Published(Jwks::new(options)?),
        };
        let algorithms = options.keys.algorithms();
        let validations = algorithms.into_iter().map(|algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.leeway = options.leeway.as_secs();
            validation.validate_nbf = true;
            // `sub` and `iss` are checked in `Claims`: jsonwebtoken refuses a `sub` that is
            // a number, and accepts a list of issuers.
            validation.set_required_spec_claims(&["exp"]);
            match &options.audience {
                Some(audience) => {
                    validation.set_audience(&[audience]);
                    validation.required_spec_claims.insert("aud".into());
                }
                // A token may have an audience that is not configured here.
                None => validation.validate_aud = false,
            }
            validation
        });
        Ok(Self {
            keys,
            validations: validations.collect(),
            issuer: options.issuer.clone(),
            leeway: options.leeway,
            claims: KeptClaims::Some,
        })
    }

    /// Lets identities have [grants](Identity::grants), with all claims of their tokens, because
    /// there is an access hook.
    #[must_use]
    pub fn with_grants(self) -> Self {
        Self {
            claims: KeptClaims::All,
            ..self
        }
    }

    /// Keeps the keys current that an issuer publishes. Runs until it is dropped. Without
    /// it, no key is ever fetched.
    pub async fn keep_keys_current(&self) {
        match &self.keys {
            Keys::Fixed(_) => std::future::pending().await,
            #[cfg(feature = "jwks")]
            Keys::Published(jwks) => jwks.keep_current().await,
        }
    }

    /// Tries to fetch the keys that an issuer publishes.
    ///
    /// # Errors
    /// Why there is none that can be used.
    pub async fn check_keys(&self) -> Result<(), BoxError> {
        match &self.keys {
            Keys::Fixed(_) => Ok(()),
            #[cfg(feature = "jwks")]
            Keys::Published(jwks) => jwks.check().await,
        }
    }

    async fn claims(&self, token: &str) -> Result<Claims, AuthenticationError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid("the token is too long"));
        }
        let decoded = match &self.keys {
            Keys::Fixed(keys) => self.decode(token, keys.iter()),
            #[cfg(feature = "jwks")]
            Keys::Published(jwks) => {
                let header = jsonwebtoken::decode_header(token)
                    .map_err(|error| AuthenticationError::Invalid(error.into()))?;
                if self.validation(header.alg).is_none() {
                    return Err(invalid("the token's algorithm is not accepted"));
                }
                let kid = header.kid.as_deref();
                let keys = jwks.keys_for(kid).await?;
                self.decode(token, keys.candidates(kid))
            }
        };
        match decoded {
            // RFC 7515, section 4.1.11: no extension is supported here, so none may be
            // critical. jsonwebtoken ignores the list.
            Ok(token) if token.header.crit.is_some() => Err(invalid(
                "the header's crit requires extensions that are not supported",
            )),
            Ok(token) => Ok(token.claims),
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => {
                Err(AuthenticationError::Expired)
            }
            Err(error) => Err(AuthenticationError::Invalid(error.into())),
        }
    }

    /// Tries the keys in turn, each with its own algorithm.
    fn decode<'a>(
        &self,
        token: &str,
        keys: impl Iterator<Item = &'a VerificationKey>,
    ) -> Result<TokenData<Claims>, jsonwebtoken::errors::Error> {
        let mut outcome = Err(ErrorKind::InvalidSignature.into());
        for key in keys {
            let Some(validation) = self.validation(key.algorithm()) else {
                continue;
            };
            outcome = jsonwebtoken::decode(token, key.decoding_key(), validation);
            let Err(error) = &outcome else { break };
            match error.kind() {
                ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => {}
                _ => break,
            }
        }
        outcome
    }

    fn validation(&self, algorithm: Algorithm) -> Option<&Validation> {
        let mut validations = self.validations.iter();
        validations.find(|validation| validation.algorithms == [algorithm])
    }
}

fn invalid(why: &'static str) -> AuthenticationError {
    AuthenticationError::Invalid(why.into())
}

#[async_trait]
impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, token: &str) -> Result<Identity, AuthenticationError> {
        let claims = self.claims(token).await?;
        let now = SystemClock.now();
        let mut identity = claims
            .identity(self.issuer.as_deref(), self.leeway, now)
            .map_err(invalid)?;
        // jsonwebtoken counts whole seconds. A connection that ends because its token
        // expires must not be accepted again within the same second.
        if identity.valid_until <= now {
            return Err(AuthenticationError::Expired);
        }
        if self.claims == KeptClaims::All {
            identity.grants = Some(Grants::new(claims::json(token).map_err(invalid)?));
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests;
