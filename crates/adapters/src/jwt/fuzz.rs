//! The internals that the fuzz targets run. Nothing else may use them.

use jsonwebtoken::DecodingKeyKind;

use super::{KeyAlgorithm, KeyDocument};

/// What was read from a JWK set.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadKeys {
    /// The keys that verify tokens: the modulus of an RSA key, or a point.
    pub used: Vec<(KeyAlgorithm, Vec<u8>)>,
    /// The `kid` of each key that is skipped, and why.
    pub unused: Vec<(String, String)>,
}

/// Reads a JWK set, of which keys for these algorithms are used.
///
/// # Errors
/// It is not a JWK set, or has no usable key.
pub fn read_jwks(json: &[u8], algorithms: &[KeyAlgorithm]) -> Result<ReadKeys, &'static str> {
    let document = KeyDocument::parse(json, algorithms)?;
    let used = document.keys.iter().map(|key| {
        let bytes = match key.decoding_key().kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } => n,
            DecodingKeyKind::SecretOrDer(point) => point,
        };
        let algorithm = key.key_algorithm().expect("a JWK is a public key");
        (algorithm, bytes.clone())
    });
    let unused = document.unused.iter();
    Ok(ReadKeys {
        used: used.collect(),
        unused: unused
            .map(|key| (key.kid.clone(), key.why.to_string()))
            .collect(),
    })
}
