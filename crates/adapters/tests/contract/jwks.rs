//! Keys that an issuer publishes: the shapes of real issuers, changes of keys, and issuers
//! that are down, slow or broken.

mod skipped_keys;

use std::sync::Arc;
use std::time::Duration;

use chat_adapters::jwks::{JwksOptions, Pace};
use chat_adapters::jwt::{JwtAuthenticator, JwtOptions, KeyAlgorithm, KeySource};
use chat_domain::Identity;
use chat_domain::ports::{AuthenticationError, Authenticator as _};
use chat_test_support::{Answer, JwksServer, SigningKey};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::authenticator::{Fetching, now_plus};
use crate::poll_once;

/// How long a test waits for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(20);
/// Keys are fetched once, at the start.
const ONCE: Pace = Pace {
    least: Duration::from_secs(3600),
    refresh: Duration::from_secs(3600),
};
/// Keys are fetched whenever a token names one that is not known.
const AT_ONCE: Pace = Pace {
    least: Duration::from_millis(20),
    refresh: Duration::from_secs(3600),
};

fn options(server: &JwksServer, pace: Pace) -> JwksOptions {
    JwksOptions {
        url: server.url("/keys?tenant=7").parse().unwrap(),
        algorithms: KeyAlgorithm::ALL.to_vec(),
        pace,
    }
}

fn authenticator(options: JwksOptions) -> JwtAuthenticator {
    JwtAuthenticator::new(&JwtOptions {
        keys: KeySource::Jwks(options),
        issuer: None,
        audience: None,
        leeway: Duration::ZERO,
    })
    .unwrap()
}

/// Serves a set, and returns what accepts its keys.
fn start(set: &Value, pace: Pace) -> (JwksServer, Fetching) {
    let server = JwksServer::start(Answer::Json(set.to_string())).unwrap();
    let authenticator = Fetching::start(authenticator(options(&server, pace)));
    (server, authenticator)
}

/// Describes a key with these further members.
fn jwk(key: &SigningKey, members: Value) -> Value {
    let mut jwk = key.jwk();
    let all = jwk.as_object_mut().unwrap();
    all.extend(members.as_object().unwrap().clone());
    jwk
}

fn set_of<'a>(keys: impl IntoIterator<Item = (&'a str, &'a SigningKey)>) -> Value {
    let keys = keys
        .into_iter()
        .map(|(kid, key)| jwk(key, json!({ "kid": kid })));
    json!({ "keys": keys.collect::<Vec<_>>() })
}

fn sign(key: &SigningKey, kid: &str) -> String {
    key.sign(Some(kid), &json!({"sub": "42", "exp": now_plus(600)}))
}

type Outcome = Result<Identity, AuthenticationError>;

fn is_invalid(outcome: &Outcome) -> bool {
    matches!(outcome, Err(AuthenticationError::Invalid(_)))
}

fn is_unavailable(outcome: &Outcome) -> bool {
    matches!(outcome, Err(AuthenticationError::Unavailable(_)))
}

/// Authenticates again and again, until the outcome is as expected.
async fn until(
    authenticator: &Fetching,
    token: &str,
    what: &str,
    is_expected: impl Fn(&Outcome) -> bool,
) {
    let trying = async {
        while !is_expected(&authenticator.authenticate(token).await) {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, trying).await.expect(what);
}

/// In the shape that Auth0 publishes: `alg`, `kty`, `use`, `n`, `e`, `kid`, and the
/// certificate in `x5c` and `x5t`. While keys are rotated, the set has the next one as well.
#[tokio::test]
async fn a_set_as_auth0_publishes_it_is_understood() {
    let (current, next) = (SigningKey::rsa(), SigningKey::rsa());
    let describe = |key, kid| {
        jwk(
            key,
            json!({
                "alg": "RS256", "use": "sig", "kid": kid,
                "x5t": "NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg",
                "x5c": ["MIIC+DCCAeCgAwIBAgIJBIGjYW6hFpn2MA0GCSqGSIb3DQEBBQUAMCMx"],
            }),
        )
    };
    let kids = [
        "NjVBRjY5MDlCMUIwNzU4RTA2Qw",
        "TmV4dCBrZXkgb2YgdGhlIHRlbmFudA",
    ];
    let set = json!({"keys": [describe(&current, kids[0]), describe(&next, kids[1])]});
    let (_server, authenticator) = start(&set, ONCE);
    for (key, kid) in [(&current, kids[0]), (&next, kids[1])] {
        assert!(
            authenticator.authenticate(&sign(key, kid)).await.is_ok(),
            "{kid}"
        );
    }
    let swapped = authenticator.authenticate(&sign(&next, kids[0])).await;
    assert!(is_invalid(&swapped));
}

/// In the shape that Keycloak publishes: besides the active RS256 key, the set has the
/// realm's key for encryption (`use` is `enc`, `alg` is `RSA-OAEP`), keys of other providers,
/// and both thumbprints.
#[tokio::test]
async fn a_set_as_keycloak_publishes_it_is_understood() {
    let (rsa, encryption) = (SigningKey::rsa(), SigningKey::rsa());
    let (p256, ed25519) = (SigningKey::p256(), SigningKey::ed25519());
    let certificate = json!(["MIICmzCCAYMCBgGQ7Y0mWjANBgkqhkiG9w0BAQsFADARMQ8wDQYDVQQDDAZt"]);
    let describe = |key, kid, alg, purpose| {
        jwk(
            key,
            json!({
                "kid": kid, "alg": alg, "use": purpose, "x5c": certificate,
                "x5t": "v6kFcCvtRm0ZPzOlPzxv4Wd2qZc",
                "x5t#S256": "0bJ2n2mWQyq1kFfJ0X6H7pXl4l8l7k2T6uPqQ2W6c5M",
            }),
        )
    };
    let set = json!({"keys": [
        describe(&encryption, "enc-1", "RSA-OAEP", "enc"),
        describe(&rsa, "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE", "RS256", "sig"),
        describe(&p256, "es-1", "ES256", "sig"),
        describe(&ed25519, "ed-1", "EdDSA", "sig"),
    ]});
    let (_server, authenticator) = start(&set, ONCE);
    for (key, kid) in [
        (&rsa, "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"),
        (&p256, "es-1"),
        (&ed25519, "ed-1"),
    ] {
        assert!(
            authenticator.authenticate(&sign(key, kid)).await.is_ok(),
            "{kid}"
        );
    }
    let encrypting = authenticator
        .authenticate(&sign(&encryption, "enc-1"))
        .await;
    assert!(
        is_invalid(&encrypting),
        "a key for encryption verifies nothing"
    );
}

/// In the shape that Amazon Cognito publishes: two keys, whose `kid` is base64 with padding.
/// Its access tokens have `client_id` and no `aud`.
#[tokio::test]
async fn a_set_as_cognito_publishes_it_is_understood() {
    let (id, access) = (SigningKey::rsa(), SigningKey::rsa());
    let describe = |key, kid| jwk(key, json!({"kid": kid, "alg": "RS256", "use": "sig"}));
    let set = json!({"keys": [describe(&id, "1234example="), describe(&access, "5678example=")]});
    let (_server, authenticator) = start(&set, ONCE);
    let claims = json!({
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "token_use": "access",
        "client_id": "xxxxxxxxxxxxexample", "username": "ada", "auth_time": now_plus(0),
        "cognito:groups": ["admins"], "exp": now_plus(600),
        "iss": "https://cognito-idp.us-west-2.amazonaws.com/us-west-2_example",
    });
    let token = access.sign(Some("5678example="), &claims);
    let identity = authenticator.authenticate(&token).await.unwrap();
    assert_eq!(identity.user.name.as_str(), "ada");
    assert!(
        authenticator
            .authenticate(&sign(&id, "1234example="))
            .await
            .is_ok()
    );
}

/// In the shape that Google publishes for Firebase: the keys as a JWK set, with
/// `Cache-Control`; and at another address their certificates, by `kid`.
#[tokio::test]
async fn a_set_as_firebase_publishes_it_is_understood() {
    let (one, two) = (SigningKey::rsa(), SigningKey::rsa());
    let describe = |key, kid| jwk(key, json!({"kid": kid, "alg": "RS256", "use": "sig"}));
    let kids = [
        "2f4b1c6f5e0d4c7b9a8d7e6f5a4b3c2d1e0f9a8b",
        "b8cadb3b1f5b4c7d9e0a1b2c3d4e5f60718293a4",
    ];
    let set = json!({"keys": [describe(&one, kids[0]), describe(&two, kids[1])]});
    let (server, authenticator) = start(&set, ONCE);
    for (key, kid) in [(&one, kids[0]), (&two, kids[1])] {
        assert!(
            authenticator.authenticate(&sign(key, kid)).await.is_ok(),
            "{kid}"
        );
    }
    // The certificates are not a JWK set, and the error says so.
    let certificates = json!({ kids[0]: "-----BEGIN CERTIFICATE-----\nMIID…" });
    server.answer(Answer::Json(certificates.to_string()));
    let error = authenticator_error(&server).await;
    assert_eq!(error, "the response is not a JWK set");
}

async fn authenticator_error(server: &JwksServer) -> String {
    let checked = authenticator(options(server, ONCE)).check_keys().await;
    checked.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fetch_serves_all_tokens_that_name_a_new_key() {
    let (old, new) = (SigningKey::p256(), SigningKey::p256());
    let pace = Pace {
        least: Duration::ZERO,
        ..AT_ONCE
    };
    let (server, authenticator) = start(&set_of([("old", &old)]), pace);
    let authenticator = Arc::new(authenticator);
    let token = sign(&old, "old");
    assert!(authenticator.authenticate(&token).await.is_ok());
    server.answer(Answer::Json(set_of([("new", &new)]).to_string()));
    let mut connecting = JoinSet::new();
    for _ in 0..50 {
        let (authenticator, token) = (authenticator.clone(), sign(&new, "new"));
        connecting.spawn(async move { authenticator.authenticate(&token).await });
    }
    for outcome in connecting.join_all().await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    assert_eq!(server.requests().len(), 2);
    assert!(
        is_invalid(&authenticator.authenticate(&token).await),
        "a withdrawn key"
    );
}

#[tokio::test]
async fn unknown_kids_cannot_cause_more_fetches_than_the_pace_allows() {
    let key = SigningKey::ed25519();
    let (server, authenticator) = start(&set_of([("1", &key)]), ONCE);
    for n in 0..1000 {
        let outcome = authenticator
            .authenticate(&sign(&key, &format!("x{n}")))
            .await;
        assert!(is_invalid(&outcome), "{outcome:?}");
    }
    assert!(authenticator.authenticate(&sign(&key, "1")).await.is_ok());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_request_names_the_host_the_path_and_the_query() {
    let key = SigningKey::ed25519();
    let (server, authenticator) = start(&set_of([("1", &key)]), ONCE);
    authenticator.authenticate(&sign(&key, "1")).await.unwrap();
    let request = server.requests().remove(0);
    assert!(
        request.starts_with("GET /keys?tenant=7 HTTP/1.1\r\n"),
        "{request}"
    );
    let host = server.url("").replace("http://", "host: ");
    assert!(request.contains(&host), "{request}");
}

#[tokio::test]
async fn known_keys_stay_in_use_while_the_issuer_is_down() {
    let (known, unknown) = (SigningKey::p256(), SigningKey::p256());
    let pace = Pace {
        refresh: Duration::from_millis(20),
        ..AT_ONCE
    };
    let (server, authenticator) = start(&set_of([("known", &known)]), pace);
    let token = sign(&known, "known");
    authenticator.authenticate(&token).await.unwrap();
    let new = sign(&unknown, "unknown");
    for down in [Answer::Close, Answer::Status(503, String::new())] {
        server.answer(down);
        until(
            &authenticator,
            &new,
            "the failure is noticed",
            is_unavailable,
        )
        .await;
        assert!(authenticator.authenticate(&token).await.is_ok());
    }
    server.answer(Answer::Json(set_of([("unknown", &unknown)]).to_string()));
    until(
        &authenticator,
        &new,
        "the keys are fetched again",
        Result::is_ok,
    )
    .await;
    until(
        &authenticator,
        &token,
        "the old key is withdrawn",
        is_invalid,
    )
    .await;
}

#[tokio::test]
async fn a_key_that_the_issuer_withdraws_is_soon_refused() {
    let (first, second) = (SigningKey::p256(), SigningKey::p256());
    let pace = Pace {
        refresh: Duration::from_millis(20),
        ..AT_ONCE
    };
    let (server, authenticator) = start(&set_of([("1", &first), ("2", &second)]), pace);
    let token = sign(&first, "1");
    authenticator.authenticate(&token).await.unwrap();
    server.answer(Answer::Json(set_of([("2", &second)]).to_string()));
    until(&authenticator, &token, "the key is withdrawn", is_invalid).await;
}

#[tokio::test]
async fn without_any_keys_tokens_are_unavailable_until_the_issuer_is_there() {
    let key = SigningKey::p256();
    let server = JwksServer::start(Answer::Close).unwrap();
    let authenticator = Fetching::start(authenticator(options(&server, AT_ONCE)));
    let token = sign(&key, "1");
    for _ in 0..3 {
        assert!(is_unavailable(&authenticator.authenticate(&token).await));
    }
    server.answer(Answer::Json(set_of([("1", &key)]).to_string()));
    until(
        &authenticator,
        &token,
        "the keys are fetched",
        Result::is_ok,
    )
    .await;
}

/// Neither a token of a known key nor the task waits for a response without an end.
#[tokio::test]
async fn an_issuer_that_does_not_answer_delays_only_tokens_of_unknown_keys() {
    let key = SigningKey::p256();
    let pace = Pace {
        refresh: Duration::from_millis(20),
        ..AT_ONCE
    };
    let (server, authenticator) = start(&set_of([("1", &key)]), pace);
    let known = sign(&key, "1");
    authenticator.authenticate(&known).await.unwrap();
    server.answer(Answer::Silence);
    let asked = server.requests().len();
    let is_asked = async {
        while server.requests().len() == asked {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(DEADLINE, is_asked)
        .await
        .expect("keys are fetched again");

    let unknown = sign(&key, "2");
    let mut waiting = Box::pin(authenticator.authenticate(&unknown));
    assert!(poll_once(&mut waiting).await.is_pending());
    let mut immediate = Box::pin(authenticator.authenticate(&known));
    assert!(poll_once(&mut immediate).await.is_ready());
    let outcome = timeout(DEADLINE, waiting)
        .await
        .expect("the fetch has a deadline");
    assert!(is_unavailable(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn answers_that_are_not_a_set_of_keys_are_errors_that_say_why() {
    let target = JwksServer::start(Answer::Json(json!({}).to_string())).unwrap();
    let elsewhere = format!("Location: {}\r\n", target.url("/keys"));
    for (answer, says) in [
        (Answer::Endless, "length limit exceeded"),
        (Answer::Status(302, elsewhere.clone()), "is a redirect"),
        (Answer::Status(307, elsewhere), "is a redirect"),
        (Answer::Status(404, String::new()), "has status 404"),
        (Answer::Status(500, String::new()), "has status 500"),
        (Answer::Status(200, "X: x\r\n".repeat(20_000)), ""),
        (Answer::Json("<html>".into()), "is not a JWK set"),
        (Answer::Json("{}".into()), "is not a JWK set"),
        (Answer::Json(r#"{"keys":7}"#.into()), "is not a JWK set"),
        (
            Answer::Json(r#"{"keys":[]}"#.into()),
            "contains no usable key",
        ),
        (
            Answer::Json(r#"{"keys":[7,null,{}]}"#.into()),
            "contains no usable key",
        ),
        (Answer::Close, ""),
    ] {
        let described = format!("{answer:?}").chars().take(80).collect::<String>();
        let server = JwksServer::start(answer).unwrap();
        let error = authenticator_error(&server).await;
        assert!(error.contains(says), "{described}: {error}");
        assert!(!error.contains("tenant"), "{described}: {error}");
    }
    assert_eq!(target.requests(), [""; 0], "a redirect was followed");
}

#[tokio::test]
async fn only_keys_of_the_configured_algorithms_are_used() {
    let (rsa, p256) = (SigningKey::rsa(), SigningKey::p256());
    let set = set_of([("1", &rsa), ("2", &p256)]);
    let server = JwksServer::start(Answer::Json(set.to_string())).unwrap();
    let options = JwksOptions {
        algorithms: vec![KeyAlgorithm::Es256],
        ..options(&server, AT_ONCE)
    };
    let authenticator = Fetching::start(authenticator(options));
    assert!(authenticator.authenticate(&sign(&p256, "2")).await.is_ok());
    assert!(is_invalid(
        &authenticator.authenticate(&sign(&rsa, "1")).await
    ));
    // An algorithm that is not accepted causes no fetch either.
    assert!(is_invalid(
        &authenticator.authenticate(&sign(&rsa, "3")).await
    ));
    assert_eq!(server.requests().len(), 1);
}

/// RFC 7517 leaves `kid` optional, for keys and for tokens.
#[tokio::test]
async fn keys_and_tokens_without_a_kid_match_everything() {
    let (named, nameless) = (SigningKey::p256(), SigningKey::p256());
    let set = json!({"keys": [jwk(&named, json!({"kid": "1"})), nameless.jwk()]});
    let (_server, authenticator) = start(&set, ONCE);
    let claims = json!({"sub": "42", "exp": now_plus(600)});
    for token in [
        named.sign(Some("1"), &claims),
        named.sign(None, &claims),
        nameless.sign(Some("other"), &claims),
        nameless.sign(None, &claims),
    ] {
        assert!(authenticator.authenticate(&token).await.is_ok());
    }
    let other = authenticator
        .authenticate(&named.sign(Some("2"), &claims))
        .await;
    assert!(is_invalid(&other));
}
