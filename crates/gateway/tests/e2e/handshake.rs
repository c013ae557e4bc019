//! Who is let in, and what happens to who is not.

use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::{Client, Polling};
use crate::support::{Database, Gateway, SECRET, now, sign, token};

/// Within it, a refused client's transport is closed.
const A_SECOND: Duration = Duration::from_secs(1);

fn start() -> (Database, Gateway) {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    (database, gateway)
}

/// Connects with this CONNECT payload, query and header: `connected as ID`, or the
/// refusal's message. Checks what becomes of the connection.
async fn connect(gateway: &Gateway, auth: &str, query: &str, header: Option<&str>) -> String {
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket{query}",
        gateway.address
    );
    let headers: Vec<_> = header
        .map(|value| ("authorization", value))
        .into_iter()
        .collect();
    let mut client = Client::open_with(&url, &headers).await.unwrap();
    let asked = Instant::now();
    client.say(&format!("40{auth}")).await;
    let answer = client.packet().await.unwrap();
    if let Some(refusal) = answer.strip_prefix("44") {
        // A refused client that sends all the same, and does not close.
        let join = Message::text(r#"42["joinRoom",{"roomId":1}]"#);
        // It may be closed already.
        client.socket.send(join).await.ok();
        let left = A_SECOND.saturating_sub(asked.elapsed());
        let after = client.read_to_end(left).await;
        // But for Engine.IO's own end.
        let is_nothing = after.iter().all(|packet| packet == "1");
        assert!(is_nothing, "a refused client receives nothing: {after:?}");
        let refusal: serde_json::Value = serde_json::from_str(refusal).unwrap();
        return refusal["message"].as_str().unwrap().to_owned();
    }
    assert!(answer.starts_with("40{\"sid\":"), "{answer}");
    client.join(1).await;
    let sent = client.send(1, "who am I?").await;
    let user = &sent["message"]["user"];
    format!(
        "{} {}",
        user["id"].as_str().unwrap(),
        user["name"].as_str().unwrap()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_found_in_all_three_places_and_the_first_decides() {
    let (_database, gateway) = start();
    let ada = token("1", "Ada");
    let eve = token("2", "Eve");
    let auth = |token: &str| json!({ "token": token }).to_string();
    let query = |token: &str| format!("&token={token}");

    for scheme in ["", "Bearer ", "bearer ", "BEARER "] {
        let with_scheme = format!("{scheme}{ada}");
        assert_eq!(
            connect(&gateway, &auth(&with_scheme), "", None).await,
            "1 Ada"
        );
        assert_eq!(connect(&gateway, "", "", Some(&with_scheme)).await, "1 Ada");
        let encoded = query(&with_scheme.replace(' ', "%20"));
        assert_eq!(connect(&gateway, "", &encoded, None).await, "1 Ada");
    }
    assert_eq!(
        connect(&gateway, &auth(&ada), &query(&eve), Some(&eve)).await,
        "1 Ada"
    );
    assert_eq!(
        connect(&gateway, "{}", &query(&eve), Some(&ada)).await,
        "1 Ada"
    );
    let null = r#"{"token":null}"#;
    assert_eq!(connect(&gateway, null, &query(&ada), None).await, "1 Ada");
    // The first place that holds something decides, even if it is wrong.
    for wrong in [r#"{"token":""}"#, r#"{"token":7}"#, r#"{"token":"x"}"#] {
        assert_eq!(
            connect(&gateway, wrong, &query(&ada), Some(&ada)).await,
            "token_invalid"
        );
    }
    assert_eq!(
        connect(&gateway, "", &query(&ada), Some("Bearer x")).await,
        "token_invalid"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_is_told_why_and_closed_within_a_second() {
    let (_database, gateway) = start();
    let with = |claims| json!({ "token": sign(&claims) }).to_string();
    for (auth, refusal) in [
        (String::new(), "token_missing"),
        ("{}".to_owned(), "token_missing"),
        ("null".to_owned(), "token_missing"),
        (with(json!({"sub": "1"})), "token_invalid"),
        (with(json!({"exp": now() + 60})), "token_invalid"),
        (
            with(json!({"sub": "1", "exp": now() + 60, "nbf": now() + 60})),
            "token_invalid",
        ),
        (
            with(json!({"sub": "1", "exp": now() - 60})),
            "token_expired",
        ),
        (
            format!("{{\"token\":\"{}x\"}}", token("1", "Ada")),
            "token_invalid",
        ),
    ] {
        assert_eq!(connect(&gateway, &auth, "", None).await, refusal, "{auth}");
    }
    let integer = with(json!({"sub": 42, "username": "ada", "exp": now() + 60}));
    assert_eq!(connect(&gateway, &integer, "", None).await, "42 ada");
    let nameless = with(json!({"sub": "42", "exp": now() + 60}));
    assert_eq!(connect(&gateway, &nameless, "", None).await, "42 42");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_poller_gets_400_to_pending_and_later_requests() {
    let (_database, gateway) = start();
    let polling = Polling::open(gateway.address).await;
    assert_eq!(polling.post(r#"40{"token":"x"}"#).await.0, 200);
    let told = polling.packets().await;
    assert_eq!(told, [r#"44{"message":"token_invalid"}"#]);
    let asked = Instant::now();
    let (status, _) = polling.get().await;
    assert_eq!(status, 400, "the pending request");
    assert!(asked.elapsed() < A_SECOND);
    assert_eq!(polling.get().await.0, 400);
    assert_eq!(polling.post(r#"42["joinRoom",{"roomId":1}]"#).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_that_upgrades_is_closed_too() {
    let (_database, gateway) = start();
    let polling = Polling::open(gateway.address).await;
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket&sid={}",
        gateway.address, polling.sid
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let asked = Instant::now();
    assert_eq!(polling.post("40").await.0, 200);
    // The upgrade is never finished: the connection is closed all the same.
    use futures_util::StreamExt as _;
    let ended = tokio::time::timeout(A_SECOND, async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    });
    ended.await.expect("closed within a second");
    assert!(asked.elapsed() < A_SECOND);
    assert_eq!(polling.get().await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_closed_out_leaves_nothing_behind() {
    let (_database, gateway) = start();
    let open_files = || {
        let folder = format!("/proc/{}/fd", gateway.pid());
        std::fs::read_dir(folder).unwrap().count()
    };
    connect(&gateway, "", "", None).await;
    let before = open_files();
    for _ in 0..50 {
        connect(&gateway, "", "", None).await;
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while open_files() > before + 2 {
        assert!(
            Instant::now() < deadline,
            "{before} files, now {}",
            open_files()
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_ends_its_connection() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("JWT_LEEWAY", "1")]);
    let expires = now() + 1;
    let short = sign(&json!({"sub": "1", "name": "Ada", "exp": expires}));
    let mut client = Client::connect(gateway.address, &short).await;
    let polling = Polling::connect(gateway.address, &short).await;
    client.join(1).await;

    let error = client.event("error").await;
    // exp, and a second of leeway; then it may take a second.
    assert!((expires + 1..=expires + 3).contains(&now()));
    assert_eq!(
        error,
        json!({"message": error["message"], "code": "token_expired", "retryable": false})
    );
    let rest = client.read_to_end(A_SECOND).await;
    assert_eq!(rest, ["41"], "Socket.IO's disconnect, then the end");

    let told = polling.packets().await;
    assert!(told[0].contains("token_expired"), "{told:?}");
    assert_eq!(told[1], "41");
    assert_eq!(polling.get().await.0, 400);
    assert_eq!(client_again(&gateway, &short).await, "token_expired");
}

async fn client_again(gateway: &Gateway, token: &str) -> String {
    connect(gateway, &json!({ "token": token }).to_string(), "", None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_left_the_namespace_is_over() {
    let (_database, gateway) = start();
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    client.say("41").await;
    assert_eq!(client.read_to_end(A_SECOND).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_in_the_token_are_the_only_ones() {
    let (_database, gateway) = start();
    let limited = sign(&json!({"sub": "1", "exp": now() + 60, "rooms": [1, 7]}));
    let mut client = Client::connect(gateway.address, &limited).await;
    client.join(7).await;
    let refused = client.call("joinRoom", &json!({"roomId": 2})).await;
    assert_eq!(refused["error"]["code"], "not_found");
    let error = client.event("error").await;
    assert_eq!(error["code"], "not_found");
    assert_eq!(error["roomId"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_audience_and_the_previous_secret_are_settings() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(
        &database,
        &[
            (
                "JWT_SECRET",
                "the secret that came after the one of the tests",
            ),
            ("JWT_SECRET_PREVIOUS", SECRET),
            ("JWT_ISSUER", "shop"),
            ("JWT_AUDIENCE", "chat"),
        ],
    );
    let with = |claims| json!({ "token": sign(&claims) }).to_string();
    let exp = now() + 60;
    let right = with(json!({"sub": "1", "exp": exp, "iss": "shop", "aud": ["chat"]}));
    assert_eq!(connect(&gateway, &right, "", None).await, "1 1");
    for wrong in [
        json!({"sub": "1", "exp": exp, "iss": "shop"}),
        json!({"sub": "1", "exp": exp, "aud": "chat"}),
        json!({"sub": "1", "exp": exp, "iss": "spy", "aud": "chat"}),
    ] {
        assert_eq!(
            connect(&gateway, &with(wrong), "", None).await,
            "token_invalid"
        );
    }
}
