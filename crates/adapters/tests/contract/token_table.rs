//! Tokens of attackers and of careless issuers, against each source of keys.

use std::time::Duration;

use chat_adapters::jwks::{JwksOptions, Pace};
use chat_adapters::jwt::{
    JwtAuthenticator, JwtOptions, KeyAlgorithm, KeySource, PublicKeys, Secret,
};
use chat_domain::ports::{AuthenticationError, Authenticator};
use chat_test_support::{Answer, JwksServer, SigningKey};
use serde_json::{Value, json};

use crate::authenticator::{Fetching, now_plus};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://issuer.example/";
const AUDIENCE: &str = "chat";
const KID: &str = "2026-11";

/// How a token must be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Valid,
    Expired,
    Invalid,
    /// Valid with fixed keys, which ignore `kid`; invalid with a JWKS, which lacks this one.
    UnknownKid,
}

use Verdict::{Expired, Invalid, UnknownKid, Valid};

/// A product, and an attacker that knows everything but its key.
struct Stage {
    key: SigningKey,
    /// Another key of the same kind.
    foreign: SigningKey,
    /// Where an attacker publishes keys.
    bait: JwksServer,
    rows: Vec<(&'static str, String, Verdict)>,
}

impl Stage {
    fn new(key: SigningKey, foreign: SigningKey) -> Self {
        let mut stage = Self {
            key,
            foreign,
            bait: JwksServer::start(Answer::Status(404, String::new())).unwrap(),
            rows: Vec::new(),
        };
        stage.algorithms();
        stage.segments();
        stage.headers();
        stage.dates();
        stage.issuers_and_audiences();
        stage.subjects_and_names();
        stage.sizes_and_encodings();
        assert!(stage.rows.len() >= 60, "{} tokens", stage.rows.len());
        stage
    }

    fn row(&mut self, what: &'static str, token: String, verdict: Verdict) {
        self.rows.push((what, token, verdict));
    }

    /// Adds a token with these changed claims (`null` removes one), properly signed.
    fn claims(&mut self, what: &'static str, changes: Value, verdict: Verdict) {
        let token = self.key.sign(Some(KID), &with(claims(), changes));
        self.row(what, token, verdict);
    }

    /// Adds a token with these claims as text, properly signed.
    fn raw_claims(&mut self, what: &'static str, claims: &str, verdict: Verdict) {
        let header = self.header().to_string();
        let token = self.key.sign_raw(&header, claims);
        self.row(what, token, verdict);
    }

    /// Adds a token with these changes of the header, properly signed.
    fn header_row(&mut self, what: &'static str, changes: Value, verdict: Verdict) {
        let header = with(self.header(), changes).to_string();
        let token = self.key.sign_raw(&header, &claims().to_string());
        self.row(what, token, verdict);
    }

    fn header(&self) -> Value {
        json!({"alg": self.key.algorithm(), "typ": "JWT", "kid": KID})
    }

    fn valid(&self) -> String {
        self.key.sign(Some(KID), &claims())
    }

    fn algorithms(&mut self) {
        for alg in ["none", "None", "NONE", "nOnE", "none ", "", "null"] {
            let header = with(self.header(), json!({ "alg": alg })).to_string();
            let signed = self.key.sign_raw(&header, &claims().to_string());
            let (unsigned, _) = signed.rsplit_once('.').unwrap();
            self.row(
                "alg none without a signature",
                format!("{unsigned}."),
                Invalid,
            );
            self.row("alg none with a signature", signed.clone(), Invalid);
        }
        self.header_row("alg is missing", json!({"alg": null}), Invalid);
        self.header_row("alg is a number", json!({"alg": 256}), Invalid);
        self.header_row("alg is a list", json!({"alg": ["none", "RS256"]}), Invalid);
        self.header_row(
            "alg in lower case",
            json!({"alg": self.key.algorithm().to_lowercase()}),
            Invalid,
        );
        for alg in [
            "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384",
            "EdDSA",
        ] {
            if alg != self.key.algorithm() {
                self.header_row("another algorithm's name", json!({ "alg": alg }), Invalid);
            }
        }
        // The public key, which everybody knows, as the secret of an HMAC.
        if self.key.algorithm() != "HS256" {
            let pem = self.key.public_pem();
            let jwk = self.key.jwk().to_string();
            for secret in [pem.as_str(), pem.trim(), jwk.as_str(), ""] {
                let token = SigningKey::secret(secret.as_bytes()).sign(Some(KID), &claims());
                self.row("an HMAC with the public key", token.clone(), Invalid);
                let header = self.header().to_string();
                let key = SigningKey::secret(secret.as_bytes());
                let token = key.sign_raw(&header, &claims().to_string());
                self.row("the same, under the key's algorithm", token, Invalid);
            }
        }
        for key in [SigningKey::p256(), SigningKey::ed25519()] {
            if key.algorithm() != self.key.algorithm() {
                let token = key.sign(Some(KID), &claims());
                self.row("another kind of key", token, Invalid);
            }
        }
        let token = self.foreign.sign(Some(KID), &claims());
        self.row("another key of the same kind", token, Invalid);
        let token = self.foreign.sign(None, &claims());
        self.row("another key without a kid", token, Invalid);
    }

    fn segments(&mut self) {
        let valid = self.valid();
        self.row("as it should be", valid.clone(), Valid);
        let [header, body, signature] = valid.split('.').collect::<Vec<_>>()[..] else {
            unreachable!("a token has three parts")
        };
        let other = self
            .key
            .sign(Some(KID), &with(claims(), json!({"sub": "43"})));
        let other: Vec<_> = other.split('.').map(str::to_owned).collect();
        // A signature of zeros, which a broken ECDSA accepts.
        let zeros = "A".repeat(signature.len());
        for (what, token) in [
            ("an empty signature", format!("{header}.{body}.")),
            ("no signature", format!("{header}.{body}")),
            ("a signature of zeros", format!("{header}.{body}.{zeros}")),
            (
                "a short signature",
                format!("{header}.{body}.{}", &signature[..20]),
            ),
            (
                "a signature twice",
                format!("{header}.{body}.{signature}{signature}"),
            ),
            ("an extra segment", format!("{valid}.{signature}")),
            ("an empty extra segment", format!("{valid}.")),
            ("an empty first segment", format!(".{valid}")),
            (
                "five segments, as in JWE",
                format!("{header}....{signature}"),
            ),
            ("an empty header", format!(".{body}.{signature}")),
            ("an empty body", format!("{header}..{signature}")),
            ("another body", format!("{header}.{}.{signature}", other[1])),
            ("another signature", format!("{header}.{body}.{}", other[2])),
            (
                "parts in another order",
                format!("{body}.{header}.{signature}"),
            ),
            ("nothing", String::new()),
            ("dots", "..".to_owned()),
            ("words", "a.b.c".to_owned()),
            ("JSON", claims().to_string()),
        ] {
            self.row(what, token, Invalid);
        }
    }

    fn headers(&mut self) {
        let long = "k".repeat(4000);
        for kid in [
            "../../../../../../dev/null",
            "/etc/passwd",
            "x' UNION SELECT 'secret' --",
            "'; DROP TABLE users; --",
            "http://127.0.0.1:9/key",
            "| /bin/sleep 9",
            "",
            "2026-11\0",
            long.as_str(),
        ] {
            self.header_row("a kid that is not one", json!({ "kid": kid }), UnknownKid);
        }
        self.header_row("no kid", json!({"kid": null}), Valid);
        for kid in [json!(1), json!([KID]), json!({"kid": KID}), json!(true)] {
            self.header_row("a kid of another type", json!({ "kid": kid }), Invalid);
        }
        // The key and its address belong to the attacker.
        let url = self.bait.url("/keys");
        let jwk = self.foreign.jwk();
        for hint in [
            json!({ "jku": url }),
            json!({ "x5u": url }),
            json!({ "jku": url, "kid": null }),
            json!({"x5c": ["MIIB"]}),
            json!({ "jwk": jwk }),
            json!({ "jwk": jwk, "kid": null }),
        ] {
            let forged = with(self.header(), hint.clone()).to_string();
            let forged = self.foreign.sign_raw(&forged, &claims().to_string());
            self.row("a key that the token brings along", forged, Invalid);
            self.header_row("the same with the right signature", hint, Valid);
        }
        for crit in [
            json!({"crit": ["exp"]}),
            json!({"crit": ["b64"], "b64": false}),
            json!({"crit": []}),
            json!({"crit": "exp"}),
            json!({"crit": [1]}),
        ] {
            self.header_row("critical extensions", crit, Invalid);
        }
        self.header_row("another typ", json!({"typ": "at+jwt"}), Valid);
        let claims = claims().to_string();
        let alg = self.key.algorithm();
        for header in [
            format!(r#"{{"alg":"none","alg":"{alg}","kid":"{KID}"}}"#),
            format!(r#"{{"alg":"{alg}","alg":"none","kid":"{KID}"}}"#),
            format!(r#"{{"alg":"{alg}","kid":"{KID}","kid":"{KID}"}}"#),
            format!(r#"["{alg}"]"#),
            format!(r#""{alg}""#),
            format!(r#"{{"alg":"{alg}""#),
            "null".to_owned(),
        ] {
            let token = self.key.sign_raw(&header, &claims);
            self.row("a header that is not one", token, Invalid);
        }
    }

    fn dates(&mut self) {
        let soon = now_plus(600);
        let later = soon.to_string();
        for (what, exp, verdict) in [
            ("exp with a fraction", json!(soon as f64 + 0.5), Valid),
            ("exp in scientific notation", json!(9.9e9), Valid),
            ("exp within the leeway", json!(now_plus(-2)), Valid),
            ("exp in the past", json!(now_plus(-60)), Expired),
            (
                "exp in the past with a fraction",
                json!(now_plus(-60) as f64 + 0.5),
                Expired,
            ),
            ("exp of 0", json!(0), Expired),
            ("exp as a string", json!(later), Invalid),
            ("exp as a date", json!("2036-01-01T00:00:00Z"), Invalid),
            ("exp that is empty", json!(""), Invalid),
            ("exp that is negative", json!(-1), Invalid),
            ("exp that is negative with a fraction", json!(-1.5), Invalid),
            ("exp beyond all time", json!(1e300), Invalid),
            ("exp as a list", json!([soon]), Invalid),
            ("exp as an object", json!({"exp": soon}), Invalid),
            ("exp that is true", json!(true), Invalid),
            ("exp that is missing", json!(null), Invalid),
        ] {
            self.claims(what, json!({ "exp": exp }), verdict);
        }
        for (what, nbf, verdict) in [
            ("nbf in the past", json!(now_plus(-60)), Valid),
            (
                "nbf with a fraction",
                json!(now_plus(-60) as f64 + 0.5),
                Valid,
            ),
            ("nbf within the leeway", json!(now_plus(2)), Valid),
            ("nbf in the future", json!(now_plus(60)), Invalid),
            (
                "nbf in the future with a fraction",
                json!(now_plus(60) as f64 + 0.5),
                Invalid,
            ),
            ("nbf as a string", json!("0"), Invalid),
            ("nbf that is negative", json!(-1), Invalid),
            ("nbf beyond all time", json!(1e300), Invalid),
            ("nbf as a list", json!([0]), Invalid),
            ("nbf that is false", json!(false), Invalid),
        ] {
            self.claims(what, json!({ "nbf": nbf }), verdict);
        }
        for (what, iat) in [
            ("iat in the past", json!(now_plus(-60))),
            ("iat with a fraction", json!(now_plus(-60) as f64 + 0.5)),
            ("iat in the future", json!(now_plus(60))),
            ("iat as a string", json!("0")),
            ("iat that is negative", json!(-1)),
            ("iat beyond all time", json!(1e300)),
            ("iat as an object", json!({"iat": 0})),
        ] {
            self.claims(what, json!({ "iat": iat }), Valid);
        }
        let all = claims().to_string();
        let all = all.strip_suffix('}').unwrap();
        self.raw_claims("iat is null", &format!("{all},\"iat\":null}}"), Valid);
        self.raw_claims(
            "exp is null",
            &all.replace("\"exp\":", "\"exp\":null,\"x\":"),
            Invalid,
        );
        self.raw_claims("nbf is null", &format!("{all},\"nbf\":null}}"), Invalid);
        self.raw_claims(
            "exp of 1e400",
            &all.replace("\"exp\":", "\"exp\":1e400,\"x\":"),
            Invalid,
        );
        for again in [
            r#""exp":9999999999"#,
            r#""sub":"43""#,
            r#""iss":"https://issuer.example/""#,
            r#""aud":"chat""#,
            r#""nbf":0,"nbf":0"#,
            r#""iat":0,"iat":0"#,
        ] {
            self.raw_claims(
                "a claim that occurs twice",
                &format!("{all},{again}}}"),
                Invalid,
            );
        }
        self.raw_claims(
            "an unknown claim that occurs twice",
            &format!("{all},\"x\":1,\"x\":2}}"),
            Valid,
        );
    }

    fn issuers_and_audiences(&mut self) {
        for (iss, verdict) in [
            (json!(ISSUER), Valid),
            (json!(null), Invalid),
            (json!(""), Invalid),
            (json!("https://issuer.example"), Invalid),
            (json!("https://issuer.example/ "), Invalid),
            (json!("HTTPS://ISSUER.EXAMPLE/"), Invalid),
            (json!("https://spy.example/"), Invalid),
            (json!([ISSUER]), Invalid),
            (json!(["https://spy.example/", ISSUER]), Invalid),
            (json!({ "iss": ISSUER }), Invalid),
            (json!(7), Invalid),
        ] {
            self.claims("iss", json!({ "iss": iss }), verdict);
        }
        for (aud, verdict) in [
            (json!(AUDIENCE), Valid),
            (json!([AUDIENCE]), Valid),
            (json!(["mail", AUDIENCE]), Valid),
            (json!(null), Invalid),
            (json!("mail"), Invalid),
            (json!("Chat"), Invalid),
            (json!("chat mail"), Invalid),
            (json!(["mail"]), Invalid),
            (json!([]), Invalid),
            (json!([[AUDIENCE]]), Invalid),
            (json!({ "aud": AUDIENCE }), Invalid),
            (json!(7), Invalid),
            (json!(true), Invalid),
        ] {
            self.claims("aud", json!({ "aud": aud }), verdict);
        }
    }

    fn subjects_and_names(&mut self) {
        for (sub, verdict) in [
            (json!(42), Valid),
            (json!("user@example.com"), Valid),
            (json!(null), Invalid),
            (json!(""), Invalid),
            (json!("a\0b"), Invalid),
            (json!(1.5), Invalid),
            (json!(["42"]), Invalid),
            (json!({"id": 42}), Invalid),
            (json!(true), Invalid),
            (json!("x".repeat(10_000)), Invalid),
        ] {
            self.claims("sub", json!({ "sub": sub }), verdict);
        }
        self.claims("a name with NUL", json!({"name": "A\0da"}), Valid);
        let all = claims().to_string();
        let all = all.strip_suffix('}').unwrap();
        self.raw_claims(
            "half a character",
            &format!(r#"{all},"name":"\ud800"}}"#),
            Invalid,
        );
        for rooms in [
            json!("all"),
            json!(["1"]),
            json!([1.5]),
            json!({"1": true}),
            json!(7),
        ] {
            self.claims("rooms", json!({ "rooms": rooms }), Invalid);
        }
    }

    fn sizes_and_encodings(&mut self) {
        self.claims("a long token", json!({"groups": "g".repeat(8000)}), Valid);
        self.claims(
            "a token that is too long",
            json!({"groups": "g".repeat(13_000)}),
            Invalid,
        );
        self.row("a megabyte", "x".repeat(1_000_000), Invalid);
        self.row(
            "a megabyte in three parts",
            format!("{0}.{0}.{0}", "e30".repeat(111_111)),
            Invalid,
        );
        let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
        let all = claims().to_string();
        let all = all.strip_suffix('}').unwrap();
        // What is ignored is not parsed recursively.
        self.raw_claims("deep JSON", &format!("{all},\"x\":{deep}}}"), Valid);
        let rooms = format!("{all},\"rooms\":{deep}}}");
        self.raw_claims("deep JSON in a claim", &rooms, Invalid);
        self.raw_claims(
            "white space in JSON",
            &format!(" {all}\n,\t\"x\" : 1 }} "),
            Valid,
        );
        for claims in [
            "",
            "null",
            "[]",
            "\"x\"",
            "7",
            "{",
            "{}",
            "{}{}",
            "\u{feff}{}",
        ] {
            self.raw_claims("a body that is not one", claims, Invalid);
        }
        let valid = self.valid();
        for (what, token) in [
            ("a leading space", format!(" {valid}")),
            ("a trailing space", format!("{valid} ")),
            ("a trailing newline", format!("{valid}\n")),
            ("a newline inside", valid.replacen('.', ".\n", 1)),
            ("a tab inside", valid.replacen('.', "\t.", 1)),
            ("a NUL at the end", format!("{valid}\0")),
            ("padding", format!("{valid}=")),
            ("two signatures", format!("{valid} {valid}")),
            ("the scheme", format!("Bearer {valid}")),
            ("a character that is not ASCII", format!("{valid}é")),
        ] {
            self.row(what, token, Invalid);
        }
        // The last digit of base64url holds bits that belong to no byte. If they were
        // ignored, one token would have several forms.
        let last = valid.chars().last().unwrap();
        let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = digits.chars().nth(digits.find(last).unwrap() + 1).unwrap();
        let other_form = format!("{}{next}", &valid[..valid.len() - 1]);
        self.row("another form of the signature", other_form, Invalid);
    }
}

fn claims() -> Value {
    json!({"sub": "42", "name": "Ada", "iss": ISSUER, "aud": AUDIENCE, "exp": now_plus(3600)})
}

/// Changes members of an object; `null` removes one.
fn with(mut object: Value, changes: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value.is_null() {
            true => members.remove(name),
            false => members.insert(name.clone(), value.clone()),
        };
    }
    object
}

fn authenticator(keys: KeySource) -> JwtAuthenticator {
    JwtAuthenticator::new(&JwtOptions {
        keys,
        issuer: Some(ISSUER.to_owned()),
        audience: Some(AUDIENCE.to_owned()),
        leeway: Duration::from_secs(5),
    })
    .unwrap()
}

async fn judge(stage: &Stage, authenticator: &impl Authenticator, unknown_kid: Verdict) {
    let mut wrong = Vec::new();
    for (what, token, expected) in &stage.rows {
        let expected = match expected {
            UnknownKid => unknown_kid,
            other => *other,
        };
        let verdict = match authenticator.authenticate(token).await {
            Ok(_) => Valid,
            Err(AuthenticationError::Expired) => Expired,
            Err(AuthenticationError::Invalid(_)) => Invalid,
            Err(error) => panic!("{what}: {error:?}"),
        };
        if verdict != expected {
            let start: String = token.chars().take(300).collect();
            wrong.push(format!("{what}: {verdict:?}, not {expected:?}: {start}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(stage.bait.requests(), [""; 0], "a token's URL was called");
}

async fn judge_with_a_file(key: SigningKey, foreign: SigningKey) {
    let stage = Stage::new(key, foreign);
    let pem = stage.key.public_pem();
    let keys = PublicKeys::from_pem(pem.as_bytes(), &KeyAlgorithm::ALL).unwrap();
    judge(&stage, &authenticator(KeySource::PublicKeys(keys)), Valid).await;
}

async fn judge_with_a_jwks(key: SigningKey, foreign: SigningKey) {
    let stage = Stage::new(key, foreign);
    let jwk = with(stage.key.jwk(), json!({"kid": KID, "use": "sig"}));
    let set = json!({ "keys": [jwk] }).to_string();
    let server = JwksServer::start(Answer::Json(set)).unwrap();
    let authenticator = Fetching::start(authenticator(KeySource::Jwks(JwksOptions {
        url: server.url("/jwks.json").parse().unwrap(),
        algorithms: KeyAlgorithm::ALL.to_vec(),
        pace: Pace {
            least: Duration::from_secs(3600),
            refresh: Duration::from_secs(3600),
        },
    })));
    judge(&stage, &authenticator, Invalid).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn tokens_are_judged_with_a_secret() {
    let foreign = SigningKey::secret(b"another secret of thirty-two byt");
    let stage = Stage::new(SigningKey::secret(SECRET), foreign);
    let keys = KeySource::Secrets {
        current: Secret::new(SECRET).unwrap(),
        previous: Some(Secret::new(*b"the previous secret, of 32 bytes").unwrap()),
    };
    judge(&stage, &authenticator(keys), Valid).await;
}

#[tokio::test]
async fn tokens_are_judged_with_an_rsa_key() {
    judge_with_a_file(SigningKey::rsa(), SigningKey::rsa()).await;
}

#[tokio::test]
async fn tokens_are_judged_with_a_p256_key() {
    judge_with_a_file(SigningKey::p256(), SigningKey::p256()).await;
}

#[tokio::test]
async fn tokens_are_judged_with_an_ed25519_key() {
    judge_with_a_file(SigningKey::ed25519(), SigningKey::ed25519()).await;
}

#[tokio::test]
async fn tokens_are_judged_with_a_published_rsa_key() {
    judge_with_a_jwks(SigningKey::rsa(), SigningKey::rsa()).await;
}

#[tokio::test]
async fn tokens_are_judged_with_a_published_p256_key() {
    judge_with_a_jwks(SigningKey::p256(), SigningKey::p256()).await;
}

#[tokio::test]
async fn tokens_are_judged_with_a_published_ed25519_key() {
    judge_with_a_jwks(SigningKey::ed25519(), SigningKey::ed25519()).await;
}
