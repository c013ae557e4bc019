//! Which clients may connect, and how the others are refused.

use std::time::{Duration, Instant};

use chat_test_support::wait_until;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::{Client, Polling};
use crate::support::{Database, Gateway, SECRET, now, sign, sign_with, token};

/// How soon a refused client's transport must be closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

fn start() -> (Database, Gateway) {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    (database, gateway)
}

/// Connects with this CONNECT payload, query and header. Returns the user's id and name, or
/// the message of the refusal. Checks that an accepted client can send, and that a refused
/// one is disconnected.
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
    let since = Instant::now();
    client.send_packet(&format!("40{auth}")).await;
    let answer = client.packet().await.unwrap();
    if let Some(refusal) = answer.strip_prefix("44") {
        // This client sends an event anyway and does not close the connection, which the
        // gateway may already have closed.
        let join = Message::text(r#"42["joinRoom",{"roomId":1}]"#);
        client.socket.send(join).await.ok();
        let left = CLOSE_DEADLINE.saturating_sub(since.elapsed());
        let after = client.read_to_end(left).await;
        // Engine.IO's own close packet is allowed.
        let is_nothing = after.iter().all(|packet| packet == "1");
        assert!(is_nothing, "a refused client received {after:?}");
        let refusal: serde_json::Value = serde_json::from_str(refusal).unwrap();
        return refusal["message"].as_str().unwrap().to_owned();
    }
    assert!(answer.starts_with("40{\"sid\":"), "{answer}");
    client.join(1).await;
    let sent = client.send(1, "hello").await;
    let user = &sent["message"]["user"];
    format!(
        "{} {}",
        user["id"].as_str().unwrap(),
        user["name"].as_str().unwrap()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_three_places_that_holds_a_token_decides() {
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
    // The first place that holds a value decides, even if the value is wrong.
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
async fn a_refused_client_receives_the_reason_and_is_disconnected_within_a_second() {
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
async fn a_refused_polling_client_gets_400_for_pending_and_later_requests() {
    let (_database, gateway) = start();
    let polling = Polling::open(gateway.address).await;
    assert_eq!(polling.post(r#"40{"token":"x"}"#).await.0, 200);
    let packets = polling.packets().await;
    assert_eq!(packets, [r#"44{"message":"token_invalid"}"#]);
    let since = Instant::now();
    let (status, body) = polling.get_past_heartbeats().await;
    assert_eq!(status, 400, "the pending request: {body}");
    assert!(since.elapsed() < CLOSE_DEADLINE);
    assert_eq!(polling.get().await.0, 400);
    assert_eq!(polling.post(r#"42["joinRoom",{"roomId":1}]"#).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused_during_its_upgrade_is_disconnected() {
    let (_database, gateway) = start();
    let polling = Polling::open(gateway.address).await;
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket&sid={}",
        gateway.address, polling.sid
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let since = Instant::now();
    assert_eq!(polling.post("40").await.0, 200);
    // The client never completes the upgrade.
    let ended = tokio::time::timeout(CLOSE_DEADLINE, async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    });
    ended
        .await
        .expect("the WebSocket is closed within a second");
    assert!(since.elapsed() < CLOSE_DEADLINE);
    assert_eq!(polling.get().await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_clients_leave_no_open_sockets() {
    let (_database, gateway) = start();
    connect(&gateway, "", "", None).await;
    let before = gateway.open_sockets();
    for _ in 0..50 {
        connect(&gateway, "", "", None).await;
    }
    let what = format!("at most two sockets more than {before} are open");
    wait_until(Duration::from_secs(5), &what, || {
        Ok((gateway.open_sockets() <= before + 2).then_some(()))
    })
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_the_namespace_closes_the_connection() {
    let (_database, gateway) = start();
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    client.send_packet("41").await;
    assert_eq!(client.read_to_end(CLOSE_DEADLINE).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_rooms_admits_to_these_rooms_only() {
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
async fn issuer_audience_and_previous_secret_are_checked_as_configured() {
    const CURRENT: &str = "the secret that replaced the one of the tests";
    let database = Database::sqlite();
    let gateway = Gateway::start_with(
        &database,
        &[
            ("JWT_SECRET", CURRENT),
            ("JWT_SECRET_PREVIOUS", SECRET),
            ("JWT_ISSUER", "shop"),
            ("JWT_AUDIENCE", "chat"),
        ],
    );
    let with = |claims| json!({ "token": sign(&claims) }).to_string();
    let exp = now() + 60;
    let right = json!({"sub": "1", "exp": exp, "iss": "shop", "aud": ["chat"]});
    for (secret, outcome) in [
        (SECRET, "1 1"),
        (CURRENT, "1 1"),
        ("a secret that was never configured here", "token_invalid"),
    ] {
        let auth = json!({ "token": sign_with(secret, &right) }).to_string();
        assert_eq!(
            connect(&gateway, &auth, "", None).await,
            outcome,
            "{secret}"
        );
    }
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
