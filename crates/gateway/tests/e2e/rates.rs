//! Rates: the events of a user, and the handshakes from an address.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bystander::Bystander;
use crate::support::client::{Client, Polling, get, http};
use crate::support::{DEADLINE, Database, Gateway, metric, token};

/// Sends this many messages at once to a room that the client has joined. Returns how many
/// were stored. Every other one must be refused as the contract says.
async fn send_at_once(client: &mut Client, room: u64, count: u64) -> u64 {
    let message = json!({"roomId": room, "content": "x"});
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(client.start("sendMessage", &message).await);
    }
    let mut stored = 0;
    for id in ids {
        let answer = client.ack(id).await;
        if answer["ok"] == true {
            stored += 1;
            continue;
        }
        let error = &answer["error"];
        assert_eq!(error["code"], "rate_limited", "{answer}");
        assert_eq!(error["retryable"], true);
        let wait = error["retryAfterMs"].as_u64().unwrap();
        assert!((1..=1000).contains(&wait), "{answer}");
    }
    let errors = client.take_events();
    let errors = errors.iter().filter(|(name, _)| name == "error");
    let mut refused = 0;
    for (_, error) in errors {
        assert_eq!(error["code"], "rate_limited");
        assert_eq!(error["event"], "sendMessage");
        assert_eq!(error["roomId"], room);
        assert!(error["retryAfterMs"].is_u64(), "{error}");
        refused += 1;
    }
    assert_eq!(refused, count - stored);
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_over_its_rate_is_refused_and_no_other_user_is() {
    let database = Database::sqlite();
    let settings = [("MESSAGE_RATE", "1"), ("MAX_IN_FLIGHT", "0")];
    let gateway = Gateway::start_with(&database, &settings);
    let mut bystander = Bystander::join(&gateway, 2).await;
    let mut client = gateway.connect("1").await;
    client.join(1).await;
    let since = Instant::now();
    let stored = send_at_once(&mut client, 1, 100).await;
    let saved_up = 4 + since.elapsed().as_secs();
    assert!((1..=saved_up).contains(&stored), "{stored} are stored");
    assert_eq!(
        metric(&gateway, r#"chat_refusals_total{limit="message_rate"}"#).await,
        100 - stored
    );

    // A second connection of the user shares its rate. Joins count, too.
    let mut second = gateway.connect("1").await;
    let mut refused = 0;
    while refused == 0 {
        let joined = second.call("joinRoom", &json!({"roomId": 1})).await;
        refused += u64::from(joined["error"]["code"] == "rate_limited");
    }
    let read = client
        .call("markRead", &json!({"roomId": 1, "seq": 1}))
        .await;
    assert_eq!(read["error"]["code"], "rate_limited", "{read}");
    // What neither writes nor joins is not limited.
    for _ in 0..20 {
        let page = client.call("listMessages", &json!({"roomId": 1})).await;
        assert_eq!(page["ok"], true, "{page}");
        let left = second.call("leaveRoom", &json!({"roomId": 3})).await;
        assert_eq!(left["ok"], true, "{left}");
    }
    bystander.send_undisturbed().await;

    // A client that waits as long as it is told succeeds.
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = client.send(1, "again").await;
        if answer["ok"] == true {
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
        let wait = answer["error"]["retryAfterMs"].as_u64().unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_a_user_has_50_events_a_second_and_bursts_of_200() {
    let database = Database::sqlite();
    // An empty variable counts as unset.
    let settings = [("MESSAGE_RATE", ""), ("MAX_IN_FLIGHT", "0")];
    let gateway = Gateway::start_with(&database, &settings);
    let mut client = gateway.connect("1").await;
    let since = Instant::now();
    client.join(1).await;
    let stored = send_at_once(&mut client, 1, 2000).await;
    let most = 200 + 50 * (since.elapsed().as_secs() + 1);
    assert!((199..=most).contains(&stored), "{stored} are stored");
}

/// Sends a request that would begin a session.
async fn handshake(gateway: &Gateway, transport: &str, forwarded_for: &str) -> (u16, String) {
    let request = format!(
        "GET /socket.io/?EIO=4&transport={transport} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         X-Forwarded-For: {forwarded_for}\r\n\r\n"
    );
    http(gateway.address, &request).await
}

/// Begins sessions until one is refused. Returns how many began.
async fn handshakes_until_refused(gateway: &Gateway, forwarded_for: &str) -> u32 {
    let mut begun = 0;
    loop {
        let (status, response) = handshake(gateway, "polling", forwarded_for).await;
        match status {
            200 => begun += 1,
            429 => {
                assert!(response.contains("retry-after: 1\r\n"), "{response}");
                return begun;
            }
            other => panic!("{other}: {response}"),
        }
        assert!(begun < 1000, "no handshake is refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_over_its_rate_gets_429_before_a_session_exists() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("CONNECT_RATE", "1")]);
    let polling = Polling::connect(gateway.address, &token("1", "Ada")).await;
    // Without TRUSTED_PROXIES the header has no effect: all requests share one address.
    let mut begun = HashMap::new();
    for n in 0..20 {
        let (status, _) = handshake(&gateway, "polling", &format!("203.0.113.{n}")).await;
        *begun.entry(status).or_insert(0) += 1;
    }
    assert!(begun[&429] > 0, "{begun:?}");
    handshakes_until_refused(&gateway, "").await;
    let (status, _) = handshake(&gateway, "websocket", "").await;
    assert_eq!(status, 429);
    let refused = metric(&gateway, r#"chat_refusals_total{limit="connect_rate"}"#).await;
    assert!(refused > 2, "{refused}");
    // Sessions that exist go on, and operators' pages are not limited.
    assert_eq!(polling.post(r#"420["joinRoom",{"roomId":1}]"#).await.0, 200);
    for _ in 0..30 {
        assert_eq!(get(gateway.address, "/healthz").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_has_its_own_rate() {
    let database = Database::sqlite();
    let settings = [
        ("CONNECT_RATE", "1"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1"),
    ];
    let gateway = Gateway::start_with(&database, &settings);
    for n in 0..5 {
        let begun = handshakes_until_refused(&gateway, &format!("203.0.113.{n}")).await;
        assert!(begun >= 10, "{begun}");
    }
    // What the client wrote itself is not read.
    let (status, _) = handshake(&gateway, "polling", "198.51.100.1, 203.0.113.4, 10.1.1.1").await;
    assert_eq!(status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_connect_rate_handshakes_are_not_limited() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    for _ in 0..100 {
        assert_eq!(handshake(&gateway, "polling", "").await.0, 200);
    }
}
