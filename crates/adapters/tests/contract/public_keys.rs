//! Files with public keys: those that are usable, and why others are refused.

use chat_adapters::jwt::{JwtAuthenticator, JwtOptions, KeyAlgorithm, KeySource, PublicKeys};
use chat_domain::ports::Authenticator as _;
use chat_test_support::{Certificates, SigningKey, public_key_pem, rsa_public_key_der};
use serde_json::json;
use std::time::Duration;

use crate::authenticator::now_plus;

fn refusal(pem: &str, algorithms: &[KeyAlgorithm]) -> String {
    let outcome = PublicKeys::from_pem(pem.as_bytes(), algorithms);
    outcome.unwrap_err().to_string()
}

#[tokio::test]
async fn a_file_may_hold_several_keys_so_that_they_can_be_changed() {
    let keys = [
        SigningKey::rsa(),
        SigningKey::p256(),
        SigningKey::ed25519(),
        SigningKey::rsa(),
    ];
    let pem: String = keys.iter().map(SigningKey::public_pem).collect();
    let pem = format!("Keys of the shop\n\n{pem}");
    let authenticator = JwtAuthenticator::new(&JwtOptions {
        keys: KeySource::PublicKeys(
            PublicKeys::from_pem(pem.as_bytes(), &KeyAlgorithm::ALL).unwrap(),
        ),
        issuer: None,
        audience: None,
        leeway: Duration::ZERO,
    })
    .unwrap();
    for key in keys {
        let token = key.sign(Some("any"), &json!({"sub": "42", "exp": now_plus(600)}));
        assert!(
            authenticator.authenticate(&token).await.is_ok(),
            "{}",
            key.algorithm()
        );
    }
}

#[test]
fn small_and_weak_rsa_keys_are_refused() {
    let number = |bytes: usize| vec![0xc3; bytes];
    for (n, e, says) in [
        (
            number(128),
            &[1, 0, 1][..],
            "key 1 has 1024 bits; RS256 needs at least 2048",
        ),
        (
            number(255),
            &[1, 0, 1],
            "key 1 has 2040 bits; RS256 needs at least 2048",
        ),
        (number(256), &[3], "key 1 has a weak exponent"),
        (number(256), &[0x80, 0x01], "key 1 has a weak exponent"),
    ] {
        let pem = public_key_pem(&rsa_public_key_der(&n, e));
        let reported = refusal(&pem, &KeyAlgorithm::ALL);
        assert!(reported.starts_with(says), "{reported}");
    }
    // A good key does not make up for a weak one.
    let weak = public_key_pem(&rsa_public_key_der(&number(128), &[1, 0, 1]));
    let both = SigningKey::p256().public_pem() + &weak;
    let reported = refusal(&both, &KeyAlgorithm::ALL);
    assert!(reported.starts_with("key 2 has 1024 bits"), "{reported}");
}

#[test]
fn what_is_not_a_public_key_is_refused_with_what_to_do() {
    let certificates = Certificates::generate().unwrap();
    for (pem, says) in [
        (String::new(), "contains no block BEGIN PUBLIC KEY"),
        ("hunter2".into(), "contains no block BEGIN PUBLIC KEY"),
        (
            public_key_pem(b"hunter2"),
            "key 1 is not a valid RSA, P-256 or Ed25519 public key",
        ),
        (
            public_key_pem(&[0x30, 0x82, 0xff, 0xff]),
            "key 1 is not a valid",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\nhunter2".into(),
            "is not valid PEM",
        ),
        (
            certificates.server.key_pem.clone(),
            "contains a private key",
        ),
        (
            certificates.authority_pem,
            "contains a certificate: extract its key with openssl x509",
        ),
    ] {
        let reported = refusal(&pem, &KeyAlgorithm::ALL);
        assert!(reported.starts_with(says), "{pem}: {reported}");
        assert!(!reported.contains("hunter2"), "{reported}");
    }
}

#[test]
fn a_key_for_an_algorithm_that_is_not_configured_is_refused() {
    let pem = SigningKey::p256().public_pem();
    assert!(PublicKeys::from_pem(pem.as_bytes(), &[KeyAlgorithm::Es256]).is_ok());
    assert_eq!(
        refusal(&pem, &[KeyAlgorithm::Rs256]),
        "key 1 is for ES256, which JWT_ALGORITHMS does not name"
    );
}
