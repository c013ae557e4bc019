//! A JSON Web Key Set (RFC 7517), as issuers publish it.

use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::keys::{KeyAlgorithm, KeySet, Unusable, VerificationKey};

/// How many keys are used at most. Each may have to be tried for a token without `kid`.
const MAX_KEYS: usize = 64;

/// What a document of an issuer holds.
pub(crate) struct KeyDocument {
    pub(crate) keys: KeySet,
    pub(crate) unused: Vec<UnusedKey>,
    /// How many usable keys exceed the maximum.
    pub(crate) left_out: usize,
}

/// A key that is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnusedKey {
    /// Its `kid`, if it has one.
    pub(crate) kid: String,
    pub(crate) why: Unusable,
}

impl UnusedKey {
    /// Returns whether an operator should look at it. Issuers publish keys for encryption
    /// beside those for signatures.
    pub(crate) fn is_expected(&self) -> bool {
        matches!(self.why, Unusable::NotForSignatures | Unusable::NotNamed(_))
    }
}

impl KeyDocument {
    /// Reads a document. Keys that are weak, malformed, or not for one of these algorithms
    /// are skipped.
    ///
    /// # Errors
    /// It is not a JWK set, or has no usable key.
    pub(crate) fn parse(json: &[u8], algorithms: &[KeyAlgorithm]) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        const NOT_A_SET: &str = "the response is not a JWK set";
        // serde also reads a list of the members' values, here and below.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(NOT_A_SET);
        }
        let Document { keys } = serde_json::from_slice(json).map_err(|_| NOT_A_SET)?;
        let mut document = Self {
            keys: KeySet::from_iter([]),
            unused: Vec::new(),
            left_out: 0,
        };
        let mut usable = Vec::new();
        for key in keys {
            let kid = key.get("kid").and_then(Value::as_str).unwrap_or_default();
            let kid = kid.to_owned();
            match public_key(key, algorithms) {
                Ok(key) => usable.push(key),
                Err(why) => document.unused.push(UnusedKey { kid, why }),
            }
        }
        if usable.is_empty() {
            return Err("the JWK set contains no usable key");
        }
        document.left_out = usable.len().saturating_sub(MAX_KEYS);
        usable.truncate(MAX_KEYS);
        document.keys = usable.into_iter().collect();
        Ok(document)
    }
}

/// The members of a JWK that matter here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<Box<str>>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
}

fn public_key(key: Value, algorithms: &[KeyAlgorithm]) -> Result<VerificationKey, Unusable> {
    if !key.is_object() {
        return Err(Unusable::Malformed);
    }
    let key: Jwk = serde_json::from_value(key).map_err(|_| Unusable::Malformed)?;
    let is_signature = key.purpose.as_deref().is_none_or(|it| it == "sig");
    let may_verify = |operations: &Vec<String>| operations.iter().any(|it| it == "verify");
    if !is_signature || !key.key_ops.as_ref().is_none_or(may_verify) {
        return Err(Unusable::NotForSignatures);
    }
    if key.d.is_some() {
        return Err(Unusable::Private);
    }
    let algorithm = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => KeyAlgorithm::Rs256,
        ("EC", Some("P-256")) => KeyAlgorithm::Es256,
        ("OKP", Some("Ed25519")) => KeyAlgorithm::EdDsa,
        _ => return Err(Unusable::Unsupported),
    };
    if key
        .alg
        .as_ref()
        .is_some_and(|alg| *alg != algorithm.to_string())
    {
        return Err(Unusable::Unsupported);
    }
    let missing = String::new;
    let decoded = match algorithm {
        KeyAlgorithm::Rs256 => {
            let (n, e) = (key.n.unwrap_or_else(missing), key.e.unwrap_or_else(missing));
            DecodingKey::from_rsa_components(&n, &e)
        }
        KeyAlgorithm::Es256 => {
            let (x, y) = (key.x.unwrap_or_else(missing), key.y.unwrap_or_else(missing));
            DecodingKey::from_ec_components(&x, &y)
        }
        KeyAlgorithm::EdDsa => DecodingKey::from_ed_components(&key.x.unwrap_or_else(missing)),
    };
    let decoded = decoded.map_err(|_| Unusable::Malformed)?;
    let checked = match (algorithm, decoded.kind()) {
        (KeyAlgorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            VerificationKey::rsa(key.kid, n, e)
        }
        // The library takes other encodings of a key as well; a JWK has exactly these.
        (KeyAlgorithm::Es256, DecodingKeyKind::SecretOrDer(point)) if point.len() == 65 => {
            VerificationKey::p256(key.kid, point)
        }
        (KeyAlgorithm::EdDsa, DecodingKeyKind::SecretOrDer(x)) if x.len() == 32 => {
            VerificationKey::ed25519(key.kid, x)
        }
        _ => Err(Unusable::Malformed),
    };
    checked?.limited_to(algorithms)
}
