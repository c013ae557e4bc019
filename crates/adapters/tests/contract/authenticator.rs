//! The contract of [`Authenticator`].

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_adapters::jwt::{JwtAuthenticator, JwtOptions, Secret};
use chat_domain::ports::{AuthenticationError, Authenticator};
use chat_domain::{Identity, RoomAccess};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

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
        mod with_a_shared_secret {
            $(#[tokio::test]
            async fn $test() {
                super::$test(&super::SharedSecret).await;
            })*
        }
    };
}

on_each_source_of_keys!(
    a_valid_token_states_an_identity,
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

impl Product for SharedSecret {
    fn authenticator(&self) -> impl Authenticator {
        JwtAuthenticator::new(&JwtOptions {
            secret: Secret::new(SECRET.as_bytes()).unwrap(),
            previous_secret: None,
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(5),
        })
    }

    fn sign(&self, claims: &Value) -> String {
        sign_with(SECRET, claims)
    }

    fn sign_with_an_unknown_key(&self, claims: &Value) -> String {
        sign_with("another secret of thirty-two byt", claims)
    }

    fn keys(&self) -> Vec<String> {
        vec![SECRET.to_owned(), format!("{:?}", SECRET.as_bytes())]
    }
}

fn sign_with(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// Returns the present time in seconds, with an offset.
fn now_plus(seconds: i64) -> i64 {
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
    assert_eq!(identity.valid_until.unix_millis(), (exp + 5) * 1000);
    let claims = json!({"sub": "42", "exp": exp});
    let identity = verify(product, claims).await.unwrap();
    assert_eq!(identity.user.name.as_str(), "42");
    assert_eq!(identity.rooms, RoomAccess::All);
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
