//! Which tokens are accepted, and what they state.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_domain::ports::{AuthenticationError, Authenticator};
use chat_domain::{Identity, RoomAccess};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{JwtAuthenticator, JwtOptions, KeySource, Secret};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OTHER: &[u8] = b"another secret of thirty-two byt";

fn options() -> JwtOptions {
    JwtOptions {
        keys: KeySource::Secrets {
            current: Secret::new(SECRET).unwrap(),
            previous: None,
        },
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(5),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs().cast_signed()
}

fn sign(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

async fn verify(options: &JwtOptions, token: &str) -> Result<Identity, AuthenticationError> {
    let authenticator = JwtAuthenticator::new(options).unwrap();
    authenticator.authenticate(token).await
}

async fn verify_claims(claims: Value) -> Result<Identity, AuthenticationError> {
    verify(&options(), &sign(Algorithm::HS256, SECRET, &claims)).await
}

fn is_invalid(outcome: Result<Identity, AuthenticationError>) -> bool {
    matches!(outcome, Err(AuthenticationError::Invalid(_)))
}

#[tokio::test]
async fn a_valid_token_states_its_subject_and_name() {
    let identity = verify_claims(json!({"sub": "42", "name": "Ada", "exp": now() + 60}))
        .await
        .unwrap();
    assert_eq!(identity.user.id.as_str(), "42");
    assert_eq!(identity.user.name.as_str(), "Ada");
    assert_eq!(identity.rooms, RoomAccess::All);
    let left = identity.valid_until.unix_millis() - now() * 1000;
    assert!((64_000..=65_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_subject_may_be_an_integer() {
    let identity = verify_claims(json!({"sub": 42, "exp": now() + 60}))
        .await
        .unwrap();
    assert_eq!(identity.user.id.as_str(), "42");
    assert_eq!(identity.user.name.as_str(), "42");
    for sub in [
        json!(1.5),
        json!(""),
        json!(true),
        json!(["42"]),
        json!(null),
    ] {
        let outcome = verify_claims(json!({"sub": sub, "exp": now() + 60})).await;
        assert!(is_invalid(outcome), "{sub}");
    }
    assert!(is_invalid(verify_claims(json!({"exp": now() + 60})).await));
}

#[tokio::test]
async fn the_name_is_the_first_one_among_three_claims() {
    for (claims, name) in [
        (
            json!({"name": "a", "username": "b", "preferred_username": "c"}),
            "a",
        ),
        (json!({"username": "b", "preferred_username": "c"}), "b"),
        (json!({"name": null, "preferred_username": "c"}), "c"),
        (json!({"name": 7, "username": " "}), "42"),
    ] {
        let mut claims = claims;
        claims["sub"] = json!("42");
        claims["exp"] = json!(now() + 60);
        let identity = verify_claims(claims).await.unwrap();
        assert_eq!(identity.user.name.as_str(), name);
    }
}

#[tokio::test]
async fn expiry_is_required_and_has_a_leeway() {
    assert!(is_invalid(verify_claims(json!({"sub": "1"})).await));
    assert!(is_invalid(
        verify_claims(json!({"sub": "1", "exp": "soon"})).await
    ));
    assert!(
        verify_claims(json!({"sub": "1", "exp": now() - 2}))
            .await
            .is_ok()
    );
    assert!(matches!(
        verify_claims(json!({"sub": "1", "exp": now() - 60})).await,
        Err(AuthenticationError::Expired)
    ));
    let distant = json!({"sub": "1", "exp": 253_402_300_800_u64});
    assert!(verify_claims(distant).await.is_ok());
}

#[tokio::test]
async fn a_token_is_not_valid_before_its_time() {
    let early = json!({"sub": "1", "exp": now() + 600, "nbf": now() + 60});
    assert!(is_invalid(verify_claims(early).await));
    let within = json!({"sub": "1", "exp": now() + 600, "nbf": now() + 2});
    assert!(verify_claims(within).await.is_ok());
}

#[tokio::test]
async fn another_algorithm_or_another_secret_is_refused() {
    let claims = json!({"sub": "1", "exp": now() + 60});
    for (algorithm, secret) in [
        (Algorithm::HS384, SECRET),
        (Algorithm::HS512, SECRET),
        (Algorithm::HS256, OTHER),
    ] {
        let token = sign(algorithm, secret, &claims);
        assert!(
            is_invalid(verify(&options(), &token).await),
            "{algorithm:?}"
        );
    }
    // {"alg":"none","typ":"JWT"} and no signature.
    let body = sign(Algorithm::HS256, SECRET, &claims);
    let body = body.split('.').nth(1).unwrap();
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
    assert!(is_invalid(verify(&options(), &none).await));
    for garbage in ["", "x", "a.b.c", "..", "éé.éé.éé"] {
        assert!(is_invalid(verify(&options(), garbage).await), "{garbage}");
    }
}

/// RFC 7515, section 4.1.11: `crit` lists what a recipient must understand, and this one
/// understands no extensions.
#[tokio::test]
async fn a_token_with_critical_extensions_is_refused() {
    let claims = json!({"sub": "1", "exp": now() + 60});
    let key = EncodingKey::from_secret(SECRET);
    for extensions in [vec!["b64"], vec!["exp"], vec![]] {
        let mut header = Header::new(Algorithm::HS256);
        header.crit = Some(extensions.into_iter().map(str::to_owned).collect());
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        let refused = verify(&options(), &token).await;
        assert!(is_invalid(refused), "{:?}", header.crit);
    }
    // An extension that is not critical is ignored.
    let mut header = Header::new(Algorithm::HS256);
    header.extras.insert("b64", true);
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    assert!(verify(&options(), &token).await.is_ok());
}

#[tokio::test]
async fn a_tampered_body_is_refused() {
    let token = sign(
        Algorithm::HS256,
        SECRET,
        &json!({"sub": "1", "exp": now() + 60}),
    );
    let other = sign(
        Algorithm::HS256,
        OTHER,
        &json!({"sub": "2", "exp": now() + 60}),
    );
    let parts: Vec<_> = token.split('.').collect();
    let forged = format!(
        "{}.{}.{}",
        parts[0],
        other.split('.').nth(1).unwrap(),
        parts[2]
    );
    assert!(is_invalid(verify(&options(), &forged).await));
}

#[tokio::test]
async fn the_previous_secret_verifies() {
    let mut options = options();
    let claims = json!({"sub": "1", "exp": now() + 60});
    let token = sign(Algorithm::HS256, OTHER, &claims);
    assert!(is_invalid(verify(&options, &token).await));
    options.keys = KeySource::Secrets {
        current: Secret::new(SECRET).unwrap(),
        previous: Some(Secret::new(OTHER).unwrap()),
    };
    assert!(verify(&options, &token).await.is_ok());
    let expired = sign(
        Algorithm::HS256,
        OTHER,
        &json!({"sub": "1", "exp": now() - 60}),
    );
    assert!(matches!(
        verify(&options, &expired).await,
        Err(AuthenticationError::Expired)
    ));
}

#[tokio::test]
async fn issuer_and_audience_are_checked_when_configured() {
    let bare = json!({"sub": "1", "exp": now() + 60});
    let full = json!({"sub": "1", "exp": now() + 60, "iss": "shop", "aud": ["chat", "mail"]});
    let wrong = json!({"sub": "1", "exp": now() + 60, "iss": "spy", "aud": "mail"});
    for claims in [&bare, &full, &wrong] {
        assert!(verify_claims(claims.clone()).await.is_ok(), "{claims}");
    }
    for part in ["issuer", "audience"] {
        let mut options = options();
        match part {
            "issuer" => options.issuer = Some("shop".into()),
            _ => options.audience = Some("chat".into()),
        }
        let check = async |claims| verify(&options, &sign(Algorithm::HS256, SECRET, claims)).await;
        assert!(check(&full).await.is_ok(), "{part}");
        assert!(is_invalid(check(&wrong).await), "{part}");
        assert!(is_invalid(check(&bare).await), "{part}");
    }
}

#[tokio::test]
async fn the_rooms_claim_limits_the_rooms_that_a_user_may_join() {
    let of = async |rooms: Value| {
        verify_claims(json!({"sub": "1", "exp": now() + 60, "rooms": rooms})).await
    };
    let identity = of(json!([1, 7])).await.unwrap();
    let room = |n| chat_domain::RoomId::new(n).unwrap();
    assert!(identity.may_join(room(7)) && !identity.may_join(room(2)));
    assert!(!of(json!([])).await.unwrap().may_join(room(1)));
    assert!(!of(json!([-1, 0])).await.unwrap().may_join(room(1)));
    for wrong in [json!("1"), json!(["1"]), json!([1.5]), json!({})] {
        assert!(is_invalid(of(wrong.clone()).await), "{wrong}");
    }
}

#[tokio::test]
async fn all_claims_are_kept_for_an_access_hook_only() {
    let claims = json!({"sub": "1", "exp": now() + 60, "plan": {"tier": [1, "é"]}});
    let token = sign(Algorithm::HS256, SECRET, &claims);
    assert_eq!(verify(&options(), &token).await.unwrap().grants, None);
    let authenticator = JwtAuthenticator::new(&options()).unwrap().with_grants();
    let grants = authenticator.authenticate(&token).await.unwrap().grants;
    let kept: Value = serde_json::from_str(grants.unwrap().claims()).unwrap();
    assert_eq!(kept, claims);
    let forged = sign(Algorithm::HS256, OTHER, &claims);
    assert!(is_invalid(authenticator.authenticate(&forged).await));
}

#[tokio::test]
async fn a_minted_token_is_accepted() {
    use chat_domain::{DisplayName, Timestamp, User, UserId};

    let user = User {
        id: UserId::new("1").unwrap(),
        name: DisplayName::from_text("Ada"),
    };
    let claims = super::MintedClaims {
        ttl: Duration::from_secs(3600),
        issuer: Some("shop"),
        audience: Some("chat"),
    };
    let at = Timestamp::from_unix_millis(now() * 1000);
    let token = Secret::new(SECRET)
        .unwrap()
        .mint(&user, claims, at)
        .unwrap();
    let mut options = options();
    options.issuer = Some("shop".into());
    options.audience = Some("chat".into());
    let identity = verify(&options, &token).await.unwrap();
    assert_eq!((identity.user, identity.issued_at), (user, Some(at)));
}

#[test]
fn a_secret_has_at_least_32_bytes_and_is_not_shown() {
    let weak = Secret::new(*b"too short").unwrap_err();
    assert_eq!(weak.to_string(), "has 9 bytes; HS256 needs at least 32");
    assert_eq!(format!("{:?}", Secret::new(SECRET).unwrap()), "Secret(…)");
}
