//! The scenarios of the official test suite of Socket.IO's protocol 5, in its order. Its
//! first 16 are those of Engine.IO's suite over the same path, see `engine_io_protocol.rs`.
//!
//! The suite's server has a second namespace, and events that return what they received.
//! The gateway has neither, so that its own events and refusals take their place.
//! docs/protocol.md names what differs.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::raw::{Endpoint, RawSocket};
use crate::support::{Database, Gateway, token};

const NO_SUCH_NAMESPACE: &str = r#"{"message":"Invalid namespace"}"#;

fn start() -> (Gateway, Endpoint, Database) {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let endpoint = Endpoint(gateway.address);
    (gateway, endpoint, database)
}

/// Opens a WebSocket and connects to the namespace.
async fn connect(endpoint: Endpoint) -> RawSocket {
    let mut socket = endpoint.open_websocket().await;
    let auth = json!({ "token": token("1", "Ada") });
    check_is_connected(&mut socket, &format!("40{auth}")).await;
    socket
}

/// Sends this CONNECT and checks its answer, which has nothing but a `sid`.
async fn check_is_connected(socket: &mut RawSocket, packet: &str) {
    socket.send(packet).await;
    let answer = socket.next_past_heartbeats().await.unwrap();
    let connected: Value = serde_json::from_str(answer.strip_prefix("40").unwrap()).unwrap();
    let sid = connected["sid"].as_str().unwrap();
    assert_eq!(connected, json!({ "sid": sid }));
}

/// Shows that the connection to the namespace works.
async fn check_is_served(socket: &mut RawSocket) {
    socket.send("42[\"leaveRoom\",{\"roomId\":7}]").await;
    let answer = socket.next_past_heartbeats().await;
    assert_eq!(answer.as_deref(), Some("42[\"leftRoom\",{\"roomId\":7}]"));
}

/// Reads an `error` event.
async fn error_event(socket: &mut RawSocket) -> Value {
    let packet = socket.next_past_heartbeats().await.unwrap();
    let (name, error): (String, Value) = serde_json::from_str(&packet[2..]).unwrap();
    assert_eq!(name, "error", "{packet}");
    error
}

/// The token may also be in the query.
#[tokio::test]
async fn a_client_connects_to_the_main_namespace() {
    let (_gateway, endpoint, _database) = start();
    let query = format!("EIO=4&transport=websocket&token={}", token("1", "Ada"));
    let mut socket = endpoint.websocket(&query).await.unwrap();
    socket.next().await.unwrap();
    check_is_connected(&mut socket, "40").await;
    check_is_served(&mut socket).await;
}

#[tokio::test]
async fn a_client_connects_to_the_main_namespace_with_a_payload() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    check_is_served(&mut socket).await;
}

/// The suite's server has a namespace of this name.
#[tokio::test]
async fn a_custom_namespace_is_refused() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket.send("40/custom,").await;
    let answer = socket.next_past_heartbeats().await.unwrap();
    assert_eq!(answer, format!("44/custom,{NO_SUCH_NAMESPACE}"));
    check_is_served(&mut socket).await;
}

#[tokio::test]
async fn a_custom_namespace_with_a_payload_is_refused() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket.send("40/custom,{\"token\":\"abc\"}").await;
    let answer = socket.next_past_heartbeats().await.unwrap();
    assert_eq!(answer, format!("44/custom,{NO_SUCH_NAMESPACE}"));
    check_is_served(&mut socket).await;
}

#[tokio::test]
async fn an_unknown_namespace_is_refused() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = endpoint.open_websocket().await;
    socket.send("40/random").await;
    let answer = socket.next_past_heartbeats().await.unwrap();
    assert_eq!(answer, format!("44/random,{NO_SUCH_NAMESPACE}"));
}

#[tokio::test]
async fn a_malformed_connect_closes_the_connection() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = endpoint.open_websocket().await;
    socket.send("4abc").await;
    socket.closed().await;
}

#[tokio::test]
async fn a_connection_without_connect_is_closed() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = endpoint.open_websocket().await;
    let since = Instant::now();
    socket.closed().await;
    let elapsed = since.elapsed().as_secs();
    assert!((8..18).contains(&elapsed), "closed after {elapsed} s");
}

/// In the suite, the connection stays open for other namespaces. Here it has no further use.
#[tokio::test]
async fn a_disconnect_from_the_main_namespace_closes_the_connection() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket.send("41").await;
    socket.closed().await;
}

/// The custom namespace is refused, and a disconnect from it changes nothing.
#[tokio::test]
async fn a_disconnect_from_a_custom_namespace_leaves_the_main_one_connected() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket.send("40/custom").await;
    let answer = socket.next_past_heartbeats().await.unwrap();
    assert!(answer.starts_with("44/custom,"), "{answer}");
    socket.send("41/custom").await;
    check_is_served(&mut socket).await;
}

/// The gateway's events take one argument; the suite's takes three.
#[tokio::test]
async fn an_event_is_answered() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket.send("42[\"message\",1,\"2\",{\"3\":[true]}]").await;
    let error = error_event(&mut socket).await;
    assert_eq!(error["code"], "unknown_event", "{error}");
    socket
        .send("42[\"leaveRoom\",1,\"2\",{\"3\":[true]}]")
        .await;
    let error = error_event(&mut socket).await;
    assert_eq!(error["code"], "invalid_payload", "{error}");
    check_is_served(&mut socket).await;
}

/// Binary events are not accepted: one with a single attachment is refused, one that
/// announces more closes the connection before any is received.
#[tokio::test]
async fn a_binary_event_is_refused() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket
        .send(r#"451-["sendMessage",{"_placeholder":true,"num":0}]"#)
        .await;
    socket.send_binary(&[1, 2, 3]).await;
    let error = error_event(&mut socket).await;
    assert_eq!(error["code"], "invalid_payload", "{error}");
    check_is_served(&mut socket).await;

    let event =
        r#"452-["sendMessage",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    socket.send(event).await;
    socket.closed().await;
}

#[tokio::test]
async fn an_event_with_an_acknowledgement_is_acknowledged() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket.send("42456[\"leaveRoom\",{\"roomId\":3}]").await;
    let event = socket.next_past_heartbeats().await.unwrap();
    assert_eq!(event, "42[\"leftRoom\",{\"roomId\":3}]");
    let ack = socket.next_past_heartbeats().await.unwrap();
    assert_eq!(ack, "43456[{\"ok\":true,\"roomId\":3}]");
}

#[tokio::test]
async fn a_binary_event_with_an_acknowledgement_is_refused_in_it() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket
        .send(r#"451-789["sendMessage",{"_placeholder":true,"num":0}]"#)
        .await;
    socket.send_binary(&[1, 2, 3]).await;
    error_event(&mut socket).await;
    let ack = socket.next_past_heartbeats().await.unwrap();
    let [refusal]: [Value; 1] = serde_json::from_str(ack.strip_prefix("43789").unwrap()).unwrap();
    assert_eq!(refusal["error"]["code"], "invalid_payload", "{ack}");

    let event =
        r#"452-789["sendMessage",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    socket.send(event).await;
    socket.closed().await;
}

#[tokio::test]
async fn an_unknown_packet_type_closes_the_connection() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket.send("4abc").await;
    socket.closed().await;
}

#[tokio::test]
async fn an_event_that_is_not_an_array_closes_the_connection() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket.send("42{}").await;
    socket.closed().await;
}

#[tokio::test]
async fn an_acknowledgement_id_that_is_not_a_number_closes_the_connection() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = connect(endpoint).await;
    socket
        .send("42abc[\"leaveRoom\",1,\"2\",{\"3\":[false]}]")
        .await;
    socket.closed().await;
}
