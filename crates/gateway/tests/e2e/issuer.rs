//! Tokens that an issuer signs: public keys from a file, and from a JWKS over HTTPS.

use std::process::Command;
use std::time::Duration;

use chat_test_support::{Answer, Certificates, JwksServer, SigningKey};
use chat_test_support::{public_key_pem, rsa_public_key_der};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::operations::run;
use crate::support::client::Client;
use crate::support::{DEADLINE, Database, Gateway, command, now, token};

fn claims() -> Value {
    json!({"sub": "42", "name": "Ada", "exp": now() + 3600})
}

fn set_of(kid: &str, key: &SigningKey) -> Answer {
    let mut jwk = key.jwk();
    jwk["kid"] = json!(kid);
    Answer::Json(json!({ "keys": [jwk] }).to_string())
}

/// Connects and returns the answer to CONNECT: `ok`, or the message of the refusal.
async fn connect(gateway: &Gateway, token: &str) -> String {
    let mut client = Client::open(gateway.address).await;
    client
        .send_packet(&format!("40{}", json!({ "token": token })))
        .await;
    let answer = client.packet().await.unwrap();
    match answer.strip_prefix("44") {
        Some(refusal) => {
            let refusal: Value = serde_json::from_str(refusal).unwrap();
            refusal["message"].as_str().unwrap().to_owned()
        }
        None => "ok".to_owned(),
    }
}

async fn connect_until(gateway: &Gateway, token: &str, wanted: &str) {
    // The keys are fetched at most every ten seconds. More attempts would meet the limit on
    // connections that are not complete.
    let mut attempts = tokio::time::interval(Duration::from_millis(100));
    let trying = async {
        while connect(gateway, token).await != wanted {
            attempts.tick().await;
        }
    };
    timeout(DEADLINE, trying).await.expect(wanted);
}

/// An HTTPS server, and a file with the authority that signed its certificate.
struct Issuer {
    server: JwksServer,
    authority: String,
    _folder: TempDir,
}

impl Issuer {
    fn start(answer: Answer) -> Self {
        let certificates = Certificates::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = certificates.write_to(folder.path()).unwrap();
        Self {
            server: JwksServer::start_tls(answer, &certificates.server).unwrap(),
            authority: files.authority.to_str().unwrap().to_owned(),
            _folder: folder,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_jwks_over_https_are_used_and_change_without_a_restart() {
    let (old, new) = (SigningKey::rsa(), SigningKey::p256());
    let issuer = Issuer::start(set_of("old", &old));
    let url = issuer.server.url("/.well-known/jwks.json");
    let database = Database::sqlite();
    let gateway = Gateway::start_with(
        &database,
        &[("JWKS_URL", &url), ("SSL_CERT_FILE", &issuer.authority)],
    );
    let (old_token, new_token) = (
        old.sign(Some("old"), &claims()),
        new.sign(Some("new"), &claims()),
    );
    assert_eq!(connect(&gateway, &old_token).await, "ok");
    assert_eq!(connect(&gateway, &new_token).await, "token_invalid");
    assert_eq!(
        connect(&gateway, &token("1", "HS256")).await,
        "token_invalid"
    );
    issuer.server.answer(set_of("new", &new));
    connect_until(&gateway, &new_token, "ok").await;
    assert_eq!(connect(&gateway, &old_token).await, "token_invalid");
    issuer.server.answer(Answer::Close);
    assert_eq!(connect(&gateway, &new_token).await, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_starts_while_the_issuer_is_down_and_answers_unavailable() {
    let key = SigningKey::ed25519();
    let token = key.sign(Some("1"), &claims());
    let issuer = Issuer::start(Answer::Close);
    let url = issuer.server.url("/jwks.json?key=hunter2");
    let database = Database::sqlite();
    let settings = [
        ("JWKS_URL", url.as_str()),
        ("SSL_CERT_FILE", &issuer.authority),
    ];
    let gateway = Gateway::start_with(&database, &settings);
    assert_eq!(connect(&gateway, &token).await, "unavailable");
    let (code, out, _) = run(command("check-config").envs(settings).env("PORT", "0"));
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("warning: JWKS_URL: the keys cannot be fetched now"),
        "{out}"
    );
    assert!(out.contains("jwks.json?***"), "{out}");

    issuer.server.answer(set_of("1", &key));
    connect_until(&gateway, &token, "ok").await;
    let log = gateway.log();
    assert!(log.contains("the JWKS cannot be fetched"), "{log}");
    assert!(log.contains("the JWKS is fetched"), "{log}");
    assert!(
        !log.contains("hunter2") && !out.contains("hunter2"),
        "{log}{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_whose_certificate_is_not_trusted_is_not_believed() {
    let key = SigningKey::ed25519();
    let issuer = Issuer::start(set_of("1", &key));
    let other = Issuer::start(Answer::Close);
    let database = Database::sqlite();
    let gateway = Gateway::start_with(
        &database,
        &[
            ("JWKS_URL", &issuer.server.url("/")),
            ("SSL_CERT_FILE", &other.authority),
        ],
    );
    let token = key.sign(Some("1"), &claims());
    assert_eq!(connect(&gateway, &token).await, "unavailable");
    assert_eq!(issuer.server.requests(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_file_is_used_and_a_weak_one_prevents_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let path = path.to_str().unwrap();
    let key = SigningKey::rsa();
    std::fs::write(path, key.public_pem()).unwrap();
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("JWT_PUBLIC_KEY_FILE", path)]);
    assert_eq!(connect(&gateway, &key.sign(None, &claims())).await, "ok");
    let other = SigningKey::rsa().sign(None, &claims());
    assert_eq!(connect(&gateway, &other).await, "token_invalid");

    let weak = public_key_pem(&rsa_public_key_der(&[0xc3; 128], &[1, 0, 1]));
    std::fs::write(path, weak).unwrap();
    let (code, _, error) = run(command("serve").env("JWT_PUBLIC_KEY_FILE", path));
    assert_eq!((code, error.lines().count()), (1, 1), "{error}");
    let expected = format!(
        "chat-gateway: JWT_PUBLIC_KEY_FILE {path} cannot be used: key 1 has 1024 bits; RS256 needs \
         at least 2048\n"
    );
    assert_eq!(error, expected);
}

#[test]
fn commands_that_sign_tokens_state_that_they_need_a_secret() {
    let url = ("JWKS_URL", "https://issuer.example/jwks.json");
    let fails = |command: &mut Command| {
        let (code, out, error) = run(command.envs([url]));
        assert_eq!(
            (code, out.as_str(), error.lines().count()),
            (1, "", 1),
            "{error}"
        );
        error
    };
    let error = fails(command("token").args(["--user", "1"]));
    assert!(
        error.contains("a token is signed with JWT_SECRET"),
        "{error}"
    );
    let error = fails(&mut command("dev"));
    assert!(
        error.contains("dev signs the tokens of its users: unset JWKS_URL"),
        "{error}"
    );
}
