//! Keys of a set that are not used, and what the log says about them.

use std::sync::{Arc, Mutex};

use chat_domain::ports::Authenticator as _;
use chat_test_support::{Answer, SigningKey};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;

use super::{AT_ONCE, ONCE, is_invalid, jwk, set_of, sign, start, until};

/// The log of one test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Collects what this thread logs, until the guard is dropped.
fn collect() -> (Lines, DefaultGuard) {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn weak_and_unusable_keys_are_skipped_with_a_log_line() {
    let (lines, _logging) = collect();
    let (good, rsa, p256) = (SigningKey::ed25519(), SigningKey::rsa(), SigningKey::p256());
    let weak = "w".repeat(171);
    let private = json!({"kid": "private", "d": "x"});
    let unusable = [
        (
            "small",
            json!({"kty": "RSA", "n": weak, "e": "AQAB"}),
            "has 1024 bits",
        ),
        ("exponent 3", jwk(&rsa, json!({"e": "Aw"})), "weak exponent"),
        ("exponent 1", jwk(&rsa, json!({"e": "AQ"})), "weak exponent"),
        (
            "even exponent",
            jwk(&rsa, json!({"e": "AQAA"})),
            "weak exponent",
        ),
        (
            "no modulus",
            json!({"kty": "RSA", "e": "AQAB"}),
            "has 0 bits",
        ),
        (
            "huge",
            json!({"kty": "RSA", "n": "w".repeat(2000), "e": "AQAB"}),
            "at most 8192",
        ),
        ("padded", jwk(&rsa, json!({"n": "w==="})), "is not a valid"),
        (
            "off the curve",
            jwk(&p256, json!({"x": "A".repeat(43)})),
            "is not a valid",
        ),
        (
            "short point",
            jwk(&p256, json!({"x": "AAAA"})),
            "is not a valid",
        ),
        (
            "no point",
            json!({"kty": "EC", "crv": "P-256"}),
            "is not a valid",
        ),
        (
            "another curve",
            jwk(&p256, json!({"crv": "P-384"})),
            "not supported",
        ),
        (
            "X25519",
            jwk(&good, json!({"crv": "X25519"})),
            "not supported",
        ),
        ("short", jwk(&good, json!({"x": "AAAA"})), "is not a valid"),
        ("RS512", jwk(&rsa, json!({"alg": "RS512"})), "not supported"),
        ("PS256", jwk(&rsa, json!({"alg": "PS256"})), "not supported"),
        ("HS256", jwk(&rsa, json!({"alg": "HS256"})), "not supported"),
        ("none", jwk(&rsa, json!({"alg": "none"})), "not supported"),
        (
            "ES256 on RSA",
            jwk(&rsa, json!({"alg": "ES256"})),
            "not supported",
        ),
        (
            "symmetric",
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            "not supported",
        ),
        ("of the future", json!({"kty": "AKP"}), "not supported"),
        (
            "encrypts",
            jwk(&rsa, json!({"use": "enc"})),
            "not meant to verify",
        ),
        (
            "signs",
            jwk(&rsa, json!({"key_ops": ["sign"]})),
            "not meant to verify",
        ),
        ("private", jwk(&rsa, private), "contains a private key"),
        ("odd", json!({"kty": 7}), "is not a valid"),
    ];
    let mut keys: Vec<Value> = unusable
        .iter()
        .map(|(kid, key, _)| {
            let mut key = key.clone();
            key["kid"] = json!(kid);
            key
        })
        .collect();
    keys.push(json!("not a key"));
    keys.push(jwk(
        &good,
        json!({"kid": "good", "key_ops": ["verify"], "ext": true}),
    ));
    let (_server, authenticator) = start(&json!({ "keys": keys }), ONCE);
    authenticator
        .authenticate(&sign(&good, "good"))
        .await
        .unwrap();
    for (key, kid) in [
        (&rsa, "exponent 3"),
        (&rsa, "RS512"),
        (&p256, "another curve"),
    ] {
        assert!(
            is_invalid(&authenticator.authenticate(&sign(key, kid)).await),
            "{kid}"
        );
    }
    let log = lines.text();
    for (kid, _, why) in &unusable {
        let line = log
            .lines()
            .find(|line| line.contains(&format!("kid=\"{kid}\"")));
        let line = line.unwrap_or_else(|| panic!("{kid} is not in {log}"));
        assert!(line.contains(why), "{line}");
        let level = if *why == "not meant to verify" {
            "INFO"
        } else {
            "WARN"
        };
        assert!(line.contains(level), "{line}");
    }
    assert!(!log.contains("tenant"), "{log}");
}

#[tokio::test]
async fn keys_beyond_64_are_left_out_with_one_log_line_that_counts_them() {
    const LINE: &str = "the JWKS has more keys than are used";
    let (lines, _logging) = collect();
    let keys: Vec<_> = (0..67).map(|_| SigningKey::ed25519()).collect();
    let kids: Vec<_> = (0..67).map(|n| n.to_string()).collect();
    let set = |count| set_of(kids.iter().map(String::as_str).zip(&keys).take(count));
    let (server, authenticator) = start(&set(64), AT_ONCE);
    let last = sign(&keys[63], "63");
    authenticator.authenticate(&last).await.unwrap();
    assert!(!lines.text().contains(LINE), "{}", lines.text());

    server.answer(Answer::Json(set(67).to_string()));
    let beyond = sign(&keys[64], "64");
    // Each attempt that finds no key fetches again, at the pace.
    let fetches = server.requests().len() + 3;
    until(&authenticator, &beyond, "keys are fetched", |outcome| {
        assert!(is_invalid(outcome), "{outcome:?}");
        server.requests().len() >= fetches
    })
    .await;
    authenticator.authenticate(&last).await.unwrap();
    let log = lines.text();
    let said: Vec<_> = log.lines().filter(|line| line.contains(LINE)).collect();
    let [line] = said[..] else {
        panic!("{log}");
    };
    assert!(
        line.contains("WARN") && line.contains("left_out=3"),
        "{line}"
    );
    assert!(!log.contains("tenant"), "{log}");
}
