//! No log line contains a token, the content of a message or a secret, even at the most
//! detailed level and while everything fails.

use std::net::SocketAddr;

use chat_test_support::{
    Answer, Cluster, ClusterOptions, JwksServer, Redis, RedisOptions, RedisUser, SigningKey,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::client::{Client, Polling, get, http};
use crate::support::{DEADLINE, Database, Gateway, command, now, sign_with};

const SECRET: &str = "canary-secret-of-thirty-two-bytes-and-more";
const PREVIOUS: &str = "canary-previous-secret-of-thirty-two-bytes";
const API_KEY: &str = "canary-key-of-the-server-api-0123456789";
const CONTENT: &str = "canary-content";
const DATABASE_PASSWORD: &str = "canary-database-password";
const REDIS_PASSWORD: &str = "canaryredispassword";
const QUERY: &str = "canary-query";

/// What may be in no line of the log.
#[derive(Default)]
struct Canaries(Vec<String>);

impl Canaries {
    /// Adds a token: neither its claims nor its signature may be logged.
    fn token(&mut self, token: &str) -> String {
        // Every header is the same.
        let parts = token.split('.').skip(1).filter(|part| part.len() > 8);
        self.0.extend(parts.map(str::to_owned));
        token.to_owned()
    }

    fn assert_absent(self, log: &str) {
        assert!(log.contains("\"DEBUG\""), "the log is not detailed: {log}");
        let fixed = [
            "canary",
            SECRET,
            PREVIOUS,
            CONTENT,
            DATABASE_PASSWORD,
            REDIS_PASSWORD,
            QUERY,
        ];
        for canary in fixed.into_iter().chain(self.0.iter().map(String::as_str)) {
            if let Some(line) = log.lines().find(|line| line.contains(canary)) {
                panic!("{canary} is in the log: {line}");
            }
        }
    }
}

fn claims(user: &str) -> Value {
    json!({"sub": user, "name": "canary-name", "exp": now() + 3600})
}

/// Sends everything that a client can send, correct and malformed, over both transports.
async fn send_everything(
    gateway: &Gateway,
    canaries: &mut Canaries,
    sign: impl Fn(&Value) -> String,
) {
    let address = gateway.address;
    let valid = canaries.token(&sign(&claims("1")));
    let other = canaries.token(&sign(&claims("2")));
    let expired = canaries.token(&sign(&json!({"sub": "canary-user", "exp": now() - 60})));
    let foreign = sign_with("canary-secret-that-is-not-configured", &claims("1"));
    let foreign = canaries.token(&foreign);

    // The three places of a token, and one that holds none.
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    for token in [&valid, &expired, &foreign, &"canary-token".to_owned()] {
        let mut client = Client::open(address).await;
        client
            .send_packet(&format!("40{}", json!({ "token": token })))
            .await;
        client.packet().await.unwrap();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let mut client = Client::open_with(&url, &headers).await.unwrap();
        client.send_packet("40").await;
        client.packet().await.unwrap();
        let with_query = format!("{url}&token={token}");
        let mut client = Client::open_with(&with_query, &[]).await.unwrap();
        client.send_packet("40").await;
        client.packet().await.unwrap();
    }
    for auth in [
        format!("{{\"token\":\"{valid}"),
        format!("{{\"token\":[\"{valid}\"]}}"),
        format!("[\"{valid}\"]"),
        format!("/canary-namespace,{{\"token\":\"{valid}\"}}"),
    ] {
        let mut client = Client::open(address).await;
        client.send_packet(&format!("40{auth}")).await;
        client.packet().await.ok();
    }

    let mut client = Client::connect(address, &valid).await;
    client.join(1).await;
    let message = json!({"roomId": 1, "content": CONTENT, "clientMessageId": "canary-id"});
    let changed =
        json!({"roomId": 1, "content": "canary-content-2", "clientMessageId": "canary-id"});
    for (event, payload) in [
        ("sendMessage", message.clone()),
        ("sendMessage", message.clone()),
        ("sendMessage", changed),
        ("listMessages", json!({"roomId": 1})),
        ("markRead", json!({"roomId": 1, "seq": 1})),
        ("renewToken", json!({ "token": valid })),
        ("renewToken", json!({ "token": other })),
        ("renewToken", json!({ "token": expired })),
        ("renewToken", json!({ "token": foreign })),
        ("renewToken", json!({ "token": [valid] })),
        ("canary-event", message.clone()),
        (
            "sendMessage",
            json!({"roomId": CONTENT, "content": [CONTENT]}),
        ),
        ("sendMessage", json!(CONTENT)),
        ("joinRoom", json!({"roomId": "canary-room"})),
    ] {
        client.call(event, &payload).await;
    }
    for packet in [
        format!("42[\"sendMessage\",{message}"),
        format!("42[\"sendMessage\",{message},{message}]"),
        format!("451-[\"sendMessage\",{{\"_placeholder\":true,\"num\":0}},{message}]"),
        format!("42{CONTENT}"),
        format!("9{CONTENT}"),
    ] {
        let mut breaking = Client::connect(address, &valid).await;
        breaking.send_packet(&packet).await;
        breaking.send_packet("41").await;
        while breaking.packet().await.is_ok() {}
    }
    let mut large = Client::connect(address, &valid).await;
    large
        .send_packet(&format!(
            "42{}",
            json!(["sendMessage", CONTENT.repeat(8000)])
        ))
        .await;
    while large.packet().await.is_ok() {}

    send_to_api(address).await;
    let polling = Polling::connect(address, &valid).await;
    polling
        .post(&format!("420{}", json!(["joinRoom", {"roomId": 1}])))
        .await;
    polling.packets().await;
    polling
        .post(&format!("421{}", json!(["sendMessage", message])))
        .await;
    polling.packets().await;
    polling.post(&format!("b{CONTENT}")).await;
    polling.post(&CONTENT.repeat(8000)).await;
    // Requests that are not those of a client.
    for path in [
        "/socket.io/?EIO=3&transport=polling&token=canary-query",
        "/socket.io/?EIO=4&transport=canary-query",
        "/socket.io/?EIO=4&transport=polling&sid=canary-query",
        "/canary-path?token=canary-query",
        "/readyz?token=canary-query",
        "/metrics?token=canary-query",
    ] {
        get(address, path).await;
    }
    for request in [
        "GET /socket.io/?token=canary-query HTTP/1.1\r\nCanary header\r\n\r\n",
        "CANARY /?token=canary-query HTTP/9.9\r\n\r\n",
        "GET /socket.io/?EIO=4&transport=websocket&token=canary-query HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: canary\r\nOrigin: http://canary\r\n\r\n",
    ] {
        http(address, request).await;
    }
}

/// Sends correct, malformed and refused requests of the server API.
async fn send_to_api(address: SocketAddr) {
    let message = json!({"userId": "canary-user", "name": "canary-name", "content": CONTENT});
    let sanction = json!({"reason": "canary-reason"});
    for key in [API_KEY, "canary-key-that-is-not-configured-0123"] {
        for (method, path, body) in [
            ("POST", "/rooms/1/messages", message.to_string()),
            ("POST", "/rooms/1/messages", CONTENT.to_owned()),
            (
                "POST",
                "/rooms/1/messages?canary-query",
                format!("{{{CONTENT}}}"),
            ),
            ("PUT", "/rooms/1/mutes/canary-user", sanction.to_string()),
            (
                "PUT",
                "/rooms/1",
                json!({"name": "canary-name"}).to_string(),
            ),
            ("PUT", "/rooms/canary-room", json!({}).to_string()),
            ("GET", "/rooms?after=canary-query", String::new()),
            ("GET", "/canary-path", String::new()),
        ] {
            let request = format!(
                "{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                 Authorization: Bearer {key}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            http(address, &request).await;
        }
    }
}

/// Starts `serve` with these settings at the most detailed level.
fn start(settings: &[(&str, &str)]) -> Gateway {
    let mut serve = command("serve");
    serve
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("RUST_LOG", "trace")
        .env("API_KEYS", format!("backend:{API_KEY}"))
        .envs(settings.iter().copied());
    Gateway::spawn(serve)
}

fn stop(mut gateway: Gateway) -> String {
    gateway.signal("TERM");
    gateway.wait();
    gateway.log()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_contains_a_canary_on_sqlite() {
    let database = Database::sqlite();
    let gateway = start(&[
        ("DATABASE_URL", &database.url()),
        ("JWT_SECRET", SECRET),
        ("JWT_SECRET_PREVIOUS", PREVIOUS),
    ]);
    let mut canaries = Canaries::default();
    send_everything(&gateway, &mut canaries, |claims| sign_with(SECRET, claims)).await;
    send_everything(&gateway, &mut canaries, |claims| {
        sign_with(PREVIOUS, claims)
    })
    .await;
    // The row is refused by the database itself.
    database.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'refused'); END",
    );
    let valid = canaries.token(&sign_with(SECRET, &claims("1")));
    let mut client = Client::connect(gateway.address, &valid).await;
    client.join(1).await;
    assert_eq!(client.send(1, CONTENT).await["ok"], false);
    canaries.assert_absent(&stop(gateway));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_contains_a_canary_on_postgres_with_redis_and_a_jwks() {
    let mut cluster = Cluster::start(ClusterOptions {
        password: Some(DATABASE_PASSWORD.into()),
        ..ClusterOptions::default()
    })
    .unwrap();
    let mut redis = Redis::start(RedisOptions {
        user: Some(RedisUser {
            name: "gateway".into(),
            password: REDIS_PASSWORD.into(),
            rules: "+hello +ping +subscribe +unsubscribe +publish &chat:*".into(),
        }),
        ..RedisOptions::default()
    })
    .unwrap();
    let key = SigningKey::p256();
    let mut jwk = key.jwk();
    jwk["kid"] = json!("1");
    let set = json!({ "keys": [jwk] }).to_string();
    let issuer = JwksServer::start(Answer::Close).unwrap();
    let gateway = start(&[
        ("DATABASE_URL", &cluster.url("postgres")),
        ("REDIS_URL", &redis.url()),
        ("JWKS_URL", &issuer.url(&format!("/jwks?key={QUERY}"))),
    ]);
    gateway.wait_for_log(|log| log.contains("the JWKS cannot be fetched").then_some(()));
    issuer.answer(Answer::Json(set));
    gateway.wait_for_log(|log| log.contains("the JWKS is fetched").then_some(()));
    gateway.wait_for_log(|log| log.contains("Redis is connected").then_some(()));
    let sign = |claims: &Value| key.sign(Some("1"), claims);
    let mut canaries = Canaries::default();
    send_everything(&gateway, &mut canaries, sign).await;
    let unknown = canaries.token(&key.sign(Some("canary-kid"), &claims("1")));
    let mut refused = Client::open(gateway.address).await;
    refused
        .send_packet(&format!("40{}", json!({ "token": unknown })))
        .await;
    refused.packet().await.unwrap();

    let valid = canaries.token(&sign(&claims("1")));
    let mut client = Client::connect(gateway.address, &valid).await;
    client.join(1).await;
    client.send(1, "canary-content-3").await;
    // The server reports the row that it refuses. An outage has one line per second.
    for (sql, done, logged) in [
        (
            "ALTER TABLE messages ADD CONSTRAINT refuse CHECK (content NOT LIKE 'canary%') NOT VALID",
            "ALTER TABLE messages DROP CONSTRAINT refuse",
            "violates check constraint",
        ),
        (
            "CREATE UNIQUE INDEX refuse ON messages (content) WHERE content = 'canary-content-3'",
            "DROP INDEX refuse",
            "violates unique constraint",
        ),
    ] {
        cluster.psql("postgres", sql).unwrap();
        let refused = async {
            while !gateway.log().contains(logged) {
                let refused = client.send(1, "canary-content-3").await;
                assert_eq!(refused["ok"], false, "{sql}");
            }
        };
        timeout(DEADLINE, refused).await.expect(logged);
        cluster.psql("postgres", done).unwrap();
    }
    redis.kill().unwrap();
    cluster.stop_immediate().unwrap();
    assert_eq!(client.send(1, CONTENT).await["ok"], false);
    assert_eq!(
        client.call("listMessages", &json!({"roomId": 1})).await["ok"],
        false
    );
    gateway.wait_for_log(|log| log.contains("Redis is lost").then_some(()));
    canaries.assert_absent(&stop(gateway));
}
