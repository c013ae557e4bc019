//! The contract of [`Authenticator`].

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chat_adapters::jwks::{JwksOptions, Pace};
use chat_adapters::jwt::{
    JwtAuthenticator, JwtOptions, KeyAlgorithm, KeySource, PublicKeys, Secret,
};
use chat_domain::ports::{AuthenticationError, Authenticator};
use chat_domain::{Identity, RoomAccess};
use chat_test_support::{Answer, JwksServer, SigningKey};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::room;

/// A product whose tokens the authenticator verifies, with keys from its own source.
trait Product {
    /// Creates the authenticator; it accepts clocks that differ by five seconds.
    fn authenticator(&self) -> impl Authenticator;

    /// Signs a token with these claims.
    fn sign(&self, claims: &Value) -> String;

    /// Signs a token like another product, with a key that the authenticator lacks.
    fn sign_with_an_unknown_key(&self, claims: &Value) -> String;

    /// Returns the keys as they could appear in a text.
    fn keys(&self) -> Vec<String>;
}

/// Declares a test with each source of keys for each `async fn(&impl Product)`.
macro_rules! on_each_source_of_keys {
    ($($test:ident),* $(,)?) => {
        on_each_source_of_keys!(@ with_a_shared_secret, super::SharedSecret, $($test),*);
        on_each_source_of_keys!(@ with_an_rsa_key, super::KeyFile(SigningKey::rsa()), $($test),*);
        on_each_source_of_keys!(@ with_a_p256_key, super::KeyFile(SigningKey::p256()), $($test),*);
        on_each_source_of_keys!(
            @ with_an_ed25519_key, super::KeyFile(SigningKey::ed25519()), $($test),*
        );
        on_each_source_of_keys!(@ with_a_jwks, super::PublishedKey::start(), $($test),*);
    };
    (@ $source:ident, $product:expr, $($test:ident),*) => {
        mod $source {
            #[allow(unused_imports, reason = "not every source is a key")]
            use chat_test_support::SigningKey;

            $(#[tokio::test]
            async fn $test() {
                super::$test(&$product).await;
            })*
        }
    };
}

on_each_source_of_keys!(
    a_valid_token_states_an_identity,
    a_token_states_when_it_was_issued,
    a_token_that_has_expired_is_refused_as_expired,
    clocks_may_differ_by_the_leeway,
    a_token_that_is_not_valid_yet_is_refused,
    a_token_without_an_expiry_or_a_subject_is_refused,
    a_token_with_a_changed_part_is_refused,
    a_token_of_an_unknown_key_is_refused,
    a_text_that_is_not_a_token_is_refused,
    no_error_contains_the_token_or_a_key,
);

struct SharedSecret;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn authenticator(keys: KeySource) -> JwtAuthenticator {
    JwtAuthenticator::new(&JwtOptions {
        keys,
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(5),
    })
    .unwrap()
}

impl Product for SharedSecret {
    fn authenticator(&self) -> impl Authenticator {
        authenticator(KeySource::Secrets {
            current: Secret::new(SECRET.as_bytes()).unwrap(),
            previous: None,
        })
    }

    fn sign(&self, claims: &Value) -> String {
        SigningKey::secret(SECRET.as_bytes()).sign(None, claims)
    }

    fn sign_with_an_unknown_key(&self, claims: &Value) -> String {
        SigningKey::secret(b"another secret of thirty-two byt").sign(None, claims)
    }

    fn keys(&self) -> Vec<String> {
        vec![SECRET.to_owned(), format!("{:?}", SECRET.as_bytes())]
    }
}

/// The public key is in a file.
struct KeyFile(SigningKey);

impl Product for KeyFile {
    fn authenticator(&self) -> impl Authenticator {
        let pem = self.0.public_pem();
        let keys = PublicKeys::from_pem(pem.as_bytes(), &KeyAlgorithm::ALL).unwrap();
        authenticator(KeySource::PublicKeys(keys))
    }

    fn sign(&self, claims: &Value) -> String {
        self.0.sign(Some("any"), claims)
    }

    fn sign_with_an_unknown_key(&self, claims: &Value) -> String {
        let other = match self.0.algorithm() {
            "RS256" => SigningKey::rsa(),
            "ES256" => SigningKey::p256(),
            _ => SigningKey::ed25519(),
        };
        other.sign(Some("any"), claims)
    }

    fn keys(&self) -> Vec<String> {
        // Public keys are not secret.
        Vec::new()
    }
}

/// The public key is published by a server.
struct PublishedKey {
    key: SigningKey,
    server: JwksServer,
}

impl PublishedKey {
    fn start() -> Self {
        let key = SigningKey::p256();
        let mut jwk = key.jwk();
        jwk["kid"] = json!("1");
        let set = json!({ "keys": [jwk] }).to_string();
        Self {
            key,
            server: JwksServer::start(Answer::Json(set)).unwrap(),
        }
    }
}

impl Product for PublishedKey {
    fn authenticator(&self) -> impl Authenticator {
        Fetching::start(authenticator(KeySource::Jwks(JwksOptions {
            url: self.server.url("/jwks.json").parse().unwrap(),
            algorithms: KeyAlgorithm::ALL.to_vec(),
            pace: Pace::default(),
        })))
    }

    fn sign(&self, claims: &Value) -> String {
        self.key.sign(Some("1"), claims)
    }

    fn sign_with_an_unknown_key(&self, claims: &Value) -> String {
        SigningKey::p256().sign(Some("1"), claims)
    }

    fn keys(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An authenticator with the task that keeps its keys current.
pub(crate) struct Fetching {
    authenticator: Arc<JwtAuthenticator>,
    _task: JoinSet<()>,
}

impl Fetching {
    pub(crate) fn start(authenticator: JwtAuthenticator) -> Self {
        let authenticator = Arc::new(authenticator);
        let task = authenticator.clone();
        Self {
            authenticator,
            _task: [async move { task.keep_keys_current().await }]
                .into_iter()
                .collect(),
        }
    }
}

#[async_trait]
impl Authenticator for Fetching {
    async fn authenticate(&self, token: &str) -> Result<Identity, AuthenticationError> {
        self.authenticator.authenticate(token).await
    }
}

/// Returns the present time in seconds, with an offset.
pub(crate) fn now_plus(seconds: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs().cast_signed() + seconds
}

async fn verify(product: &impl Product, claims: Value) -> Result<Identity, AuthenticationError> {
    let token = product.sign(&claims);
    product.authenticator().authenticate(&token).await
}

fn assert_invalid(outcome: Result<Identity, AuthenticationError>) {
    assert!(
        matches!(outcome, Err(AuthenticationError::Invalid(_))),
        "{outcome:?}"
    );
}

fn assert_expired(outcome: Result<Identity, AuthenticationError>) {
    assert!(
        matches!(outcome, Err(AuthenticationError::Expired)),
        "{outcome:?}"
    );
}

async fn a_valid_token_states_an_identity(product: &impl Product) {
    let exp = now_plus(60);
    let claims = json!({"sub": "42", "name": "Ada", "exp": exp, "rooms": [1, 7]});
    let identity = verify(product, claims).await.unwrap();
    assert_eq!(identity.user.id.as_str(), "42");
    assert_eq!(identity.user.name.as_str(), "Ada");
    assert_eq!(
        identity.rooms,
        RoomAccess::Only([room(1), room(7)].into_iter().collect())
    );
    assert_eq!(identity.expires_at.unix_millis(), exp * 1000);
    assert_eq!(identity.valid_until.unix_millis(), (exp + 5) * 1000);
    let claims = json!({"sub": "42", "exp": exp});
    let identity = verify(product, claims).await.unwrap();
    assert_eq!(identity.user.name.as_str(), "42");
    assert_eq!(identity.rooms, RoomAccess::All);
}

async fn a_token_states_when_it_was_issued(product: &impl Product) {
    let second = now_plus(-60);
    for (iat, millis) in [
        (json!(second), Some(second * 1000)),
        (json!(second as f64 + 0.25), Some(second * 1000 + 250)),
        (json!(1.5e9), Some(1_500_000_000_000)),
        (json!(0), Some(0)),
        (json!(-1), Some(-1000)),
        // Within the leeway.
        (json!(second + 63), Some((second + 63) * 1000)),
        // Not credible: no revocation would concern it.
        (json!(now_plus(60)), None),
        (json!(second * 1000), None),
        (json!(1e300), None),
        (json!(second.to_string()), None),
        (json!([second]), None),
        (json!(true), None),
        (json!(null), None),
    ] {
        let claims = json!({"sub": "42", "exp": now_plus(60), "iat": iat});
        let identity = verify(product, claims).await.unwrap();
        let issued_at = identity.issued_at.map(chat_domain::Timestamp::unix_millis);
        assert_eq!(issued_at, millis, "{iat}");
    }
    let without = json!({"sub": "42", "exp": now_plus(60)});
    assert_eq!(verify(product, without).await.unwrap().issued_at, None);
}

async fn a_token_that_has_expired_is_refused_as_expired(product: &impl Product) {
    for ago in [7, 3600, 1_000_000_000] {
        let claims = json!({"sub": "42", "exp": now_plus(-ago)});
        assert_expired(verify(product, claims).await);
    }
}

async fn clocks_may_differ_by_the_leeway(product: &impl Product) {
    let slow = json!({"sub": "42", "exp": now_plus(-2)});
    assert!(verify(product, slow).await.is_ok());
    let fast = json!({"sub": "42", "exp": now_plus(60), "nbf": now_plus(3)});
    assert!(verify(product, fast).await.is_ok());
}

async fn a_token_that_is_not_valid_yet_is_refused(product: &impl Product) {
    let claims = json!({"sub": "42", "exp": now_plus(600), "nbf": now_plus(60)});
    assert_invalid(verify(product, claims).await);
}

async fn a_token_without_an_expiry_or_a_subject_is_refused(product: &impl Product) {
    assert_invalid(verify(product, json!({"sub": "42"})).await);
    assert_invalid(verify(product, json!({"sub": "42", "exp": "soon"})).await);
    assert_invalid(verify(product, json!({"exp": now_plus(60)})).await);
    assert_invalid(verify(product, json!({"sub": "", "exp": now_plus(60)})).await);
}

/// Returns the token with each of its parts taken from another valid token.
fn changed(product: &impl Product) -> Vec<String> {
    let token = product.sign(&json!({"sub": "42", "exp": now_plus(60)}));
    let other = product.sign(&json!({"sub": "43", "exp": now_plus(60)}));
    let [token, other] = [&token, &other].map(|token| token.split('.').collect::<Vec<_>>());
    vec![
        format!("{}.{}.{}", token[0], other[1], token[2]),
        format!("{}.{}.{}", token[0], token[1], other[2]),
        format!("{}.{}.", token[0], token[1]),
        format!("{}.{}", token[0], token[1]),
        // {"alg":"none"}
        format!("eyJhbGciOiJub25lIn0.{}.", token[1]),
        format!("eyJhbGciOiJub25lIn0.{}.{}", token[1], token[2]),
    ]
}

async fn a_token_with_a_changed_part_is_refused(product: &impl Product) {
    for token in changed(product) {
        assert_invalid(product.authenticator().authenticate(&token).await);
    }
}

async fn a_token_of_an_unknown_key_is_refused(product: &impl Product) {
    for exp in [now_plus(60), now_plus(-60)] {
        let token = product.sign_with_an_unknown_key(&json!({"sub": "42", "exp": exp}));
        assert_invalid(product.authenticator().authenticate(&token).await);
    }
}

async fn a_text_that_is_not_a_token_is_refused(product: &impl Product) {
    let token = product.sign(&json!({"sub": "42", "exp": now_plus(60)}));
    for text in [
        String::new(),
        "x".into(),
        "..".into(),
        "a.b.c".into(),
        "éé.éé.éé".into(),
        ".".repeat(10_000),
        format!("Bearer {token}"),
        format!("{token} "),
        format!("{token}.{token}"),
    ] {
        assert_invalid(product.authenticator().authenticate(&text).await);
    }
}

async fn no_error_contains_the_token_or_a_key(product: &impl Product) {
    let mut tokens = changed(product);
    for claims in [
        json!({"sub": "42", "exp": now_plus(-60)}),
        json!({"sub": "42", "exp": now_plus(60), "nbf": now_plus(60)}),
        json!({"sub": "42", "exp": "soon"}),
        json!({"sub": [42], "exp": now_plus(60)}),
        json!({"sub": "42", "exp": now_plus(60), "rooms": "all"}),
    ] {
        tokens.push(product.sign(&claims));
        tokens.push(product.sign_with_an_unknown_key(&claims));
    }
    let authenticator = product.authenticator();
    for token in tokens {
        let error = authenticator.authenticate(&token).await.unwrap_err();
        let mut shown = format!("{error:?}");
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            shown += &format!("\n{error}\n{error:?}");
            cause = error.source();
        }
        let parts = token.split('.').filter(|part| !part.is_empty());
        for part in parts.map(str::to_owned).chain(product.keys()) {
            assert!(!shown.contains(&part), "{shown} contains {part}");
        }
    }
}
