//! Tokens that expire while their clients are connected.
//!
//! The contract states a time of the clock: from `exp` plus leeway on, a connection ends
//! within a second. All of these tests compare with the clock, not with each other.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::client::{Client, Polling};
use crate::support::{DEADLINE, Database, Gateway, now, sign};

/// How long after `exp` plus leeway a connection may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// A gateway with a leeway, and a token that it accepts for a few seconds.
struct Expiring {
    gateway: Gateway,
    token: String,
    /// `exp` plus leeway.
    ends_at: SystemTime,
    _database: Database,
}

impl Expiring {
    fn start(leeway: u64) -> Self {
        let database = Database::sqlite();
        let gateway = Gateway::start_with(&database, &[("JWT_LEEWAY", &leeway.to_string())]);
        let exp = now() + 2;
        Self {
            gateway,
            token: sign(&json!({"sub": "1", "name": "Ada", "exp": exp})),
            ends_at: SystemTime::UNIX_EPOCH + Duration::from_secs(exp + leeway),
            _database: database,
        }
    }

    fn assert_not_too_early(&self, what: &str) {
        let left = self.ends_at.duration_since(SystemTime::now());
        assert!(left.is_err(), "{what} came {left:?} too early");
    }

    fn assert_in_time(&self, what: &str) {
        let late = SystemTime::now().duration_since(self.ends_at + GRACE);
        assert!(late.is_err(), "{what} came {late:?} too late");
    }
}

/// Requires the `error` event of an expired token.
fn assert_is_token_expired(packet: &str) {
    let event = packet.strip_prefix("42").unwrap_or_default();
    let event: Value = serde_json::from_str(event).expect(packet);
    let message = &event[1]["message"];
    let error = json!({"message": message, "code": "token_expired", "retryable": false});
    assert_eq!(event, json!(["error", error]));
}

/// Reads packets up to the end of the TCP connection.
async fn a_websocket_ends_in_time(leeway: u64) {
    let expiring = Expiring::start(leeway);
    let mut client = Client::connect(expiring.gateway.address, &expiring.token).await;
    client.join(1).await;
    client.take_events();
    assert_is_token_expired(&client.packet().await.unwrap());
    expiring.assert_not_too_early("the error");
    assert_eq!(client.packet().await.unwrap(), "41");
    // A WebSocket's close frame may come first; what counts is the end of the stream.
    let closed = async { while let Some(Ok(_)) = client.socket.next().await {} };
    tokio::time::timeout(DEADLINE, closed).await.unwrap();
    expiring.assert_in_time("the end of the TCP connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_ends_within_a_second_of_exp() {
    a_websocket_ends_in_time(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_ends_within_a_second_of_exp_and_leeway() {
    a_websocket_ends_in_time(2).await;
}

/// Polls as a client does: the next request starts when the last one is answered.
async fn a_polling_session_ends_in_time(leeway: u64) {
    let expiring = Expiring::start(leeway);
    let polling = Polling::connect(expiring.gateway.address, &expiring.token).await;
    // This request is pending when the token expires.
    let mut packets = polling.packets().await;
    expiring.assert_not_too_early("the error");
    if packets.len() == 1 {
        packets.extend(polling.packets().await);
    }
    assert_is_token_expired(&packets[0]);
    assert_eq!(packets[1..], ["41"]);
    assert_eq!(polling.get().await.0, 400, "the request that is pending");
    assert_eq!(polling.get().await.0, 400, "a later request");
    let event = r#"42["joinRoom",{"roomId":1}]"#;
    assert_eq!(polling.post(event).await.0, 400, "a later event");
    expiring.assert_in_time("the end of the session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_session_ends_within_a_second_of_exp() {
    a_polling_session_ends_in_time(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_session_ends_within_a_second_of_exp_and_leeway() {
    a_polling_session_ends_in_time(2).await;
}

/// A client that polls no longer when its token expires cannot receive the error.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_pending_request_ends_within_a_second_of_exp_and_leeway() {
    let expiring = Expiring::start(1);
    let address = expiring.gateway.address;
    let silent = Polling::connect(address, &expiring.token).await;
    // The next second begins with the expiry of another token.
    let exp = expiring.ends_at.duration_since(SystemTime::UNIX_EPOCH);
    let next = sign(&json!({"sub": "2", "exp": exp.unwrap().as_secs()}));
    let mut next = Client::connect(address, &next).await;
    assert_eq!(next.event("error").await["code"], "token_expired");
    assert_eq!(silent.get().await.0, 400);
    let event = r#"42["joinRoom",{"roomId":1}]"#;
    assert_eq!(silent.post(event).await.0, 400);
}

/// The time until which a connection may last is also the time until which one may begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refused_once_it_would_end_a_connection() {
    let expiring = Expiring::start(0);
    let mut client = Client::connect(expiring.gateway.address, &expiring.token).await;
    client.event("error").await;
    let mut late = Client::open(expiring.gateway.address).await;
    let auth = json!({"token": expiring.token});
    late.send_packet(&format!("40{auth}")).await;
    assert_eq!(
        late.packet().await.unwrap(),
        r#"44{"message":"token_expired"}"#
    );
}
