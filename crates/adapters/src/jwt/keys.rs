//! Keys that verify tokens: each one with the only algorithm that it is used with.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use jsonwebtoken::{Algorithm, DecodingKey};

/// RFC 7518, section 3.3, requires at least this size.
const MIN_RSA_BITS: usize = 2048;
/// Larger keys are not supported by the cryptographic library, because verification would
/// take long.
const MAX_RSA_BITS: usize = 8192;
/// FIPS 186-5, section 5.4, requires an exponent of at least this value.
const MIN_RSA_EXPONENT: u64 = 65_537;

/// The algorithm of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on the curve P-256 with SHA-256.
    Es256,
    /// EdDSA on Curve25519.
    EdDsa,
}

/// The error for a name that is not that of a [`KeyAlgorithm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not RS256, ES256 or EdDSA")]
pub struct InvalidKeyAlgorithm;

impl KeyAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    pub(super) fn of_tokens(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        })
    }
}

impl FromStr for KeyAlgorithm {
    type Err = InvalidKeyAlgorithm;

    fn from_str(text: &str) -> Result<Self, InvalidKeyAlgorithm> {
        let mut all = Self::ALL.into_iter();
        all.find(|algorithm| algorithm.to_string() == text)
            .ok_or(InvalidKeyAlgorithm)
    }
}

/// Why a public key is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("has {bits} bits; RS256 needs at least {MIN_RSA_BITS}")]
    SmallRsa { bits: usize },
    #[error("has {bits} bits; at most {MAX_RSA_BITS} are supported")]
    LargeRsa { bits: usize },
    #[error("has a weak exponent; RS256 needs at least {MIN_RSA_EXPONENT}, and an odd one")]
    WeakExponent,
    #[error("is not a valid RSA, P-256 or Ed25519 public key")]
    Malformed,
    #[error("is for {0}, which JWT_ALGORITHMS does not name")]
    NotNamed(KeyAlgorithm),
    #[cfg(feature = "jwks")]
    #[error("has a type, curve or algorithm that is not supported, or that contradict each other")]
    Unsupported,
    #[cfg(feature = "jwks")]
    #[error("is not meant to verify signatures")]
    NotForSignatures,
    #[cfg(feature = "jwks")]
    #[error("contains a private key")]
    Private,
}

/// A key, and what it verifies.
pub(crate) struct VerificationKey {
    /// The id by which tokens select it. A key without one is a candidate for every token.
    #[cfg_attr(
        not(feature = "jwks"),
        expect(dead_code, reason = "only a JWKS has them")
    )]
    kid: Option<Box<str>>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl VerificationKey {
    pub(super) fn of_secret(key: DecodingKey) -> Self {
        Self {
            kid: None,
            algorithm: Algorithm::HS256,
            key,
        }
    }

    /// Checks an RSA key, given by its big-endian components.
    pub(super) fn rsa(kid: Option<Box<str>>, n: &[u8], e: &[u8]) -> Result<Self, Unusable> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n
            .first()
            .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if bits < MIN_RSA_BITS {
            return Err(Unusable::SmallRsa { bits });
        }
        if bits > MAX_RSA_BITS {
            return Err(Unusable::LargeRsa { bits });
        }
        let exponent = match e.len() {
            0..=8 => e
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
            _ => return Err(Unusable::Malformed),
        };
        if exponent < MIN_RSA_EXPONENT || exponent.is_multiple_of(2) {
            return Err(Unusable::WeakExponent);
        }
        RsaPublicKeyComponents { n, e }
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_| Unusable::Malformed)?;
        let key = DecodingKey::from_rsa_raw_components(n, e);
        Ok(Self::new(kid, KeyAlgorithm::Rs256, key))
    }

    /// Checks a P-256 key: an uncompressed point, or an X.509 `SubjectPublicKeyInfo`.
    pub(super) fn p256(kid: Option<Box<str>>, key: &[u8]) -> Result<Self, Unusable> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).map_err(|_| Unusable::Malformed)?;
        let key = DecodingKey::from_ec_der(key);
        Ok(Self::new(kid, KeyAlgorithm::Es256, key))
    }

    /// Checks an Ed25519 key: 32 bytes, or an X.509 `SubjectPublicKeyInfo`.
    pub(super) fn ed25519(kid: Option<Box<str>>, key: &[u8]) -> Result<Self, Unusable> {
        ParsedPublicKey::new(&ED25519, key).map_err(|_| Unusable::Malformed)?;
        let key = DecodingKey::from_ed_der(key);
        Ok(Self::new(kid, KeyAlgorithm::EdDsa, key))
    }

    fn new(kid: Option<Box<str>>, algorithm: KeyAlgorithm, key: DecodingKey) -> Self {
        Self {
            kid,
            algorithm: algorithm.of_tokens(),
            key,
        }
    }

    /// Refuses a key whose algorithm is none of these.
    pub(super) fn limited_to(self, algorithms: &[KeyAlgorithm]) -> Result<Self, Unusable> {
        let own = self.key_algorithm().ok_or(Unusable::Malformed)?;
        match algorithms.contains(&own) {
            true => Ok(self),
            false => Err(Unusable::NotNamed(own)),
        }
    }

    pub(super) fn key_algorithm(&self) -> Option<KeyAlgorithm> {
        let mut all = KeyAlgorithm::ALL.into_iter();
        all.find(|algorithm| algorithm.of_tokens() == self.algorithm)
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn decoding_key(&self) -> &DecodingKey {
        &self.key
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The keys that verify tokens at one time.
pub(crate) struct KeySet(Vec<VerificationKey>);

impl KeySet {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &VerificationKey> {
        self.0.iter()
    }

    #[cfg(feature = "jwks")]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the keys that may have signed a token with this `kid`: those with the same
    /// one, and those without. A token without one may have been signed by any.
    #[cfg(feature = "jwks")]
    pub(crate) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
    ) -> impl Iterator<Item = &'a VerificationKey> {
        self.iter().filter(move |key| match (&key.kid, kid) {
            (Some(own), Some(wanted)) => &**own == wanted,
            _ => true,
        })
    }
}

impl FromIterator<VerificationKey> for KeySet {
    fn from_iter<I: IntoIterator<Item = VerificationKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}
