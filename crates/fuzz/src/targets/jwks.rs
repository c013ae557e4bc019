//! The keys that an issuer publishes.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chat_adapters::jwt::KeyAlgorithm;
use chat_adapters::jwt::fuzz::read_jwks;
use serde_json::Value;

/// How many keys are used at most.
const MAX_KEYS: usize = 64;

/// The bits of the first byte select algorithms; the rest is a JWK set. The keys that are used
/// must be in it, meant for signatures, and for one of these algorithms.
pub(crate) fn run(data: &[u8]) {
    let Some((&selected, json)) = data.split_first() else {
        return;
    };
    let algorithms = KeyAlgorithm::ALL.into_iter().enumerate();
    let algorithms = algorithms.filter(|(bit, _)| selected >> bit & 1 == 1);
    let algorithms: Vec<KeyAlgorithm> = algorithms.map(|(_, algorithm)| algorithm).collect();
    let read = read_jwks(json, &algorithms);
    assert_eq!(read, read_jwks(json, &algorithms));
    let Ok(read) = read else {
        return;
    };
    // What is ignored may hold numbers and escapes that no `Value` can.
    let Ok(document) = serde_json::from_slice::<Value>(json) else {
        return;
    };
    let keys = document["keys"].as_array().expect("a JWK set has keys");
    assert!(read.used.len() <= MAX_KEYS, "{} keys", read.used.len());
    assert!(read.used.iter().all(|(it, _)| algorithms.contains(it)));
    let count = read.used.len() + read.unused.len();
    assert!(count == keys.len() || read.used.len() == MAX_KEYS);
    // Keys keep their order.
    let mut described = keys.iter().filter_map(described);
    for used in &read.used {
        assert!(described.any(|it| it == *used), "{used:?}");
    }
    // What else is requested has no influence on a key.
    let mut all = read_jwks(json, &KeyAlgorithm::ALL).expect("more keys are usable");
    if all.used.len() < MAX_KEYS {
        all.used.retain(|(it, _)| algorithms.contains(it));
        assert_eq!(all.used, read.used);
    }
}

/// Returns what a JWK says about itself; `None` if it must not be used. Whether it is a valid
/// key is not checked.
fn described(key: &Value) -> Option<(KeyAlgorithm, Vec<u8>)> {
    let text = |name: &str| key[name].as_str();
    let number = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let is_absent_or = |name: &str, value: &str| key[name].is_null() || key[name] == value;
    let operations = key["key_ops"].as_array();
    if !is_absent_or("use", "sig")
        || operations.is_some_and(|it| !it.contains(&"verify".into()))
        || !key["d"].is_null()
    {
        return None;
    }
    let (algorithm, name, bytes) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let n = number("n")?.into_iter().skip_while(|byte| *byte == 0);
            (KeyAlgorithm::Rs256, "RS256", n.collect())
        }
        ("EC", Some("P-256")) => {
            let point = [vec![4], number("x")?, number("y")?];
            (KeyAlgorithm::Es256, "ES256", point.concat())
        }
        ("OKP", Some("Ed25519")) => (KeyAlgorithm::EdDsa, "EdDSA", number("x")?),
        _ => return None,
    };
    is_absent_or("alg", name).then_some((algorithm, bytes))
}
