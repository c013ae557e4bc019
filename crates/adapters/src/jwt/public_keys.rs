//! Public keys in PEM, from a file.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rsa;
use rustls_pki_types::pem::{PemObject as _, SectionKind};

use super::keys::{KeyAlgorithm, KeySet, Unusable, VerificationKey};

/// Public keys that never change. Several allow to change keys without refusing a token.
#[derive(Clone)]
pub struct PublicKeys(Arc<KeySet>);

/// Why a text holds no usable public keys. Never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPublicKeys(String);

impl PublicKeys {
    /// Reads the blocks `-----BEGIN PUBLIC KEY-----` (X.509 `SubjectPublicKeyInfo`), all of
    /// which must be usable with one of these algorithms.
    ///
    /// # Errors
    /// [`InvalidPublicKeys`].
    pub fn from_pem(pem: &[u8], algorithms: &[KeyAlgorithm]) -> Result<Self, InvalidPublicKeys> {
        let invalid = |why: &str| InvalidPublicKeys(why.to_owned());
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|_| invalid("is not valid PEM"))?;
            match kind {
                SectionKind::PublicKey => {}
                SectionKind::PrivateKey
                | SectionKind::RsaPrivateKey
                | SectionKind::EcPrivateKey => {
                    return Err(invalid(
                        "contains a private key, which only the issuer may have: extract the \
                         public key with openssl pkey -in KEY -pubout",
                    ));
                }
                SectionKind::Certificate => {
                    return Err(invalid(
                        "contains a certificate: extract its key with openssl x509 -in \
                         CERTIFICATE -pubkey -noout",
                    ));
                }
                _ => continue,
            }
            let key = public_key(&der).and_then(|key| key.limited_to(algorithms));
            let place = keys.len() + 1;
            keys.push(key.map_err(|why| InvalidPublicKeys(format!("key {place} {why}")))?);
        }
        if keys.is_empty() {
            return Err(invalid(
                "contains no block BEGIN PUBLIC KEY: openssl pkey -pubin -in KEY writes one",
            ));
        }
        Ok(Self(Arc::new(keys.into_iter().collect())))
    }

    pub(super) fn set(&self) -> Arc<KeySet> {
        self.0.clone()
    }

    pub(super) fn algorithms(&self) -> Vec<KeyAlgorithm> {
        let used = |algorithm: &KeyAlgorithm| {
            let mut keys = self.0.iter();
            keys.any(|key| key.key_algorithm() == Some(*algorithm))
        };
        KeyAlgorithm::ALL.into_iter().filter(used).collect()
    }
}

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKeys({:?})", self.algorithms())
    }
}

/// Reads an X.509 `SubjectPublicKeyInfo`.
fn public_key(der: &[u8]) -> Result<VerificationKey, Unusable> {
    if let Ok(key) = rsa::PublicKey::from_der(der) {
        let (n, e) = (key.modulus(), key.exponent());
        return VerificationKey::rsa(
            None,
            n.big_endian_without_leading_zero(),
            e.big_endian_without_leading_zero(),
        );
    }
    VerificationKey::p256(None, der).or_else(|_| VerificationKey::ed25519(None, der))
}
