//! Tokens, signed and unsigned.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chat_adapters::jwt::{JwtAuthenticator, JwtOptions, KeySource, Secret};
use chat_domain::ports::Authenticator as _;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde::de::IgnoredAny;
use serde_json::Value;

const SECRET: &[u8] = b"a secret of the fuzz target, which no input can know";

static AUTHENTICATOR: LazyLock<JwtAuthenticator> = LazyLock::new(|| {
    let keys = KeySource::Secrets {
        current: Secret::new(SECRET).expect("the secret is long enough"),
        previous: None,
    };
    JwtAuthenticator::new(&JwtOptions {
        keys,
        issuer: None,
        audience: None,
        leeway: Duration::ZERO,
    })
    .expect("a secret needs no client of an issuer")
});

/// After a first byte of `s`, the first line is a header and the rest the claims, which are
/// signed. Otherwise the bytes are a token, and no token verifies that was not signed.
pub(crate) fn run(data: &[u8]) {
    match data.split_first() {
        Some((b's', parts)) => signed(parts),
        _ => unsigned(data),
    }
}

fn unsigned(data: &[u8]) {
    if let Ok(token) = std::str::from_utf8(data) {
        assert!(verify(token).is_none());
    }
}

fn signed(parts: &[u8]) {
    let at = parts.iter().position(|byte| *byte == b'\n');
    let (header, claims) = parts.split_at(at.unwrap_or(parts.len()));
    let claims = claims.get(1..).unwrap_or_default();
    let mut token = BASE64_URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let key = EncodingKey::from_secret(SECRET);
    let signature = crypto::sign(token.as_bytes(), &key, Algorithm::HS256);
    let token = format!("{token}.{}", signature.expect("HS256 signs everything"));
    let Some(subject) = verify(&token) else {
        return;
    };
    // What is accepted says so in its JSON. (What is ignored need not be UTF-8.)
    let header: Value =
        serde_json::from_str(&String::from_utf8_lossy(header)).expect("an accepted header is JSON");
    assert_eq!(header["alg"], "HS256");
    assert_eq!(header.get("crit"), None);
    let claims = String::from_utf8_lossy(claims);
    serde_json::from_str::<IgnoredAny>(&claims).expect("accepted claims are JSON");
    // A number in a claim that is ignored may be too large for this test.
    let Ok(claims) = serde_json::from_str::<Value>(&claims) else {
        return;
    };
    assert!(claims["exp"].as_f64().is_some_and(|exp| exp > 1.7e9));
    let expected = match &claims["sub"] {
        Value::String(subject) => subject.clone(),
        subject => subject.to_string(),
    };
    assert_eq!(subject, expected);
}

/// Returns the subject of a valid token.
fn verify(token: &str) -> Option<String> {
    let verified = pollster::block_on(AUTHENTICATOR.authenticate(token));
    let identity = verified.ok()?;
    Some(identity.user.id.as_str().to_owned())
}
