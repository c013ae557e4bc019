//! The scenarios of the official test suite of Engine.IO's protocol 4, in its order.
//!
//! The suite's server answers every packet with the same packet. The gateway speaks
//! Socket.IO and echoes nothing, so here a CONNECT takes the place of `4hello`, and its
//! answer that of the echo. docs/protocol.md names what differs.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::support::raw::{Endpoint, PollingSession, RawSocket, open_packet};
use crate::support::{DEADLINE, Database, Gateway, token};

fn start() -> (Gateway, Endpoint, Database) {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let endpoint = Endpoint(gateway.address);
    (gateway, endpoint, database)
}

/// Returns the packet that connects to the namespace.
fn connect_packet() -> String {
    format!("40{}", json!({ "token": token("1", "Ada") }))
}

/// Connects to the namespace, because a session that does not is closed after ten seconds.
/// Also takes the first heartbeat, so that the next poll waits.
async fn connect_over_polling(session: &PollingSession) {
    assert_eq!(session.post(&connect_packet()).await, ok());
    let mut packets = Vec::new();
    while packets.len() < 2 {
        let (status, body) = session.poll().await;
        assert_eq!(status, 200, "{body}");
        packets.extend(body.split('\u{1e}').map(str::to_owned));
    }
    packets.sort();
    assert!(
        packets[0] == "2" && packets[1].starts_with("40{"),
        "{packets:?}"
    );
}

/// Shows that the connection works, as an echo does in the suite.
async fn connect_over_websocket(socket: &mut RawSocket) {
    socket.send(&connect_packet()).await;
    let answer = socket.next_past_heartbeats().await.unwrap();
    assert!(answer.starts_with("40{"), "{answer}");
}

fn ok() -> (u16, String) {
    (200, "ok".to_owned())
}

/// Checks Engine.IO's first packet.
fn check_open_packet(packet: &str, upgrades: &[&str]) {
    let open = open_packet(packet);
    assert!(open["sid"].is_string(), "{open}");
    let expected = json!({
        "sid": open["sid"],
        "upgrades": upgrades,
        "pingInterval": 25_000,
        "pingTimeout": 20_000,
        "maxPayload": 65_536,
    });
    assert_eq!(open, expected);
}

#[tokio::test]
async fn long_polling_opens_a_session() {
    let (_gateway, endpoint, _database) = start();
    let (status, body) = endpoint.request("GET", "EIO=4&transport=polling", "").await;
    assert_eq!(status, 200);
    check_open_packet(&body, &["websocket"]);
}

#[tokio::test]
async fn long_polling_is_refused_without_a_valid_version() {
    let (_gateway, endpoint, _database) = start();
    // 3 is what versions 1 and 2 of socket.io-client speak.
    for version in ["", "EIO=abc&", "EIO=3&"] {
        let query = &format!("{version}transport=polling");
        let (status, body) = endpoint.request("GET", query, "").await;
        let refusal = r#"{"code":5,"message":"Unsupported protocol version"}"#;
        assert_eq!((status, body.as_str()), (400, refusal), "{query}");
    }
}

#[tokio::test]
async fn long_polling_is_refused_without_a_valid_transport() {
    let (_gateway, endpoint, _database) = start();
    for query in ["EIO=4", "EIO=4&transport=abc"] {
        let (status, body) = endpoint.request("GET", query, "").await;
        let refusal = r#"{"code":0,"message":"Transport unknown"}"#;
        assert_eq!((status, body.as_str()), (400, refusal), "{query}");
    }
}

#[tokio::test]
async fn long_polling_begins_with_a_get_only() {
    let (_gateway, endpoint, _database) = start();
    for method in ["POST", "PUT"] {
        let (status, body) = endpoint
            .request(method, "EIO=4&transport=polling", "")
            .await;
        assert_eq!(status, 400, "{method}: {body}");
    }
}

#[tokio::test]
async fn a_websocket_opens_a_session() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = endpoint
        .websocket("EIO=4&transport=websocket")
        .await
        .unwrap();
    check_open_packet(&socket.next().await.unwrap(), &[]);
}

#[tokio::test]
async fn a_websocket_is_refused_without_a_valid_version() {
    let (_gateway, endpoint, _database) = start();
    for version in ["", "EIO=abc&", "EIO=3&"] {
        let query = &format!("{version}transport=websocket");
        assert_eq!(endpoint.websocket(query).await.err(), Some(400), "{query}");
    }
}

#[tokio::test]
async fn a_websocket_is_refused_without_a_valid_transport() {
    let (_gateway, endpoint, _database) = start();
    for query in ["EIO=4", "EIO=4&transport=abc"] {
        assert_eq!(endpoint.websocket(query).await.err(), Some(400), "{query}");
    }
}

#[tokio::test]
async fn long_polling_carries_one_packet() {
    let (_gateway, endpoint, _database) = start();
    connect_over_polling(&endpoint.open_polling().await).await;
}

#[tokio::test]
async fn long_polling_carries_several_packets() {
    let (_gateway, endpoint, _database) = start();
    let session = endpoint.open_polling().await;
    connect_over_polling(&session).await;
    let [one, two, three] =
        [1, 2, 3].map(|id| format!("42{id}[\"leaveRoom\",{{\"roomId\":{id}}}]"));
    let body = format!("{one}\u{1e}{two}\u{1e}{three}");
    assert_eq!(session.post(&body).await, ok());
    let mut answers = Vec::new();
    while answers.len() < 6 {
        let (status, body) = session.poll_past_heartbeats().await;
        assert_eq!(status, 200, "{body}");
        answers.extend(body.split('\u{1e}').map(str::to_owned));
    }
    let expected = [1, 2, 3].map(|id| {
        [
            format!("42[\"leftRoom\",{{\"roomId\":{id}}}]"),
            format!("43{id}[{{\"ok\":true,\"roomId\":{id}}}]"),
        ]
    });
    assert_eq!(answers, expected.concat());
}

/// The suite's server echoes the binary packet. The gateway accepts none, and a packet that
/// belongs to no event ends the session.
#[tokio::test]
async fn long_polling_with_a_binary_packet_ends_the_session() {
    let (_gateway, endpoint, _database) = start();
    let session = endpoint.open_polling().await;
    connect_over_polling(&session).await;
    let body = "421[\"leaveRoom\",{\"roomId\":1}]\u{1e}bAQIDBA==";
    session.post(body).await;
    let mut answer = session.poll_past_heartbeats().await;
    while answer.0 == 200 {
        answer = session.poll().await;
    }
    assert_eq!(answer.0, 400, "{}", answer.1);
}

#[tokio::test]
async fn a_malformed_packet_ends_a_long_polling_session() {
    let (_gateway, endpoint, _database) = start();
    let session = endpoint.open_polling().await;
    assert_eq!(session.post("abc").await.0, 400);
    assert_eq!(session.poll().await.0, 400);
}

#[tokio::test]
async fn a_second_poll_ends_the_session() {
    let (_gateway, endpoint, _database) = start();
    let session = endpoint.open_polling().await;
    connect_over_polling(&session).await;
    let (first, second) = tokio::join!(session.poll(), session.poll());
    // Either may have arrived first.
    let mut answers = [first, second];
    answers.sort();
    assert_eq!(answers[0], (200, "1".to_owned()));
    assert_eq!(answers[1].0, 400);
    assert_eq!(session.poll().await.0, 400);
}

/// What its response would have carried is lost, so the session cannot go on.
#[tokio::test]
async fn an_abandoned_poll_ends_the_session() {
    let (_gateway, endpoint, _database) = start();
    let session = endpoint.open_polling().await;
    connect_over_polling(&session).await;
    let since = Instant::now();
    // A poll that is abandoned before the gateway has begun with it has no effect.
    while session.post("3").await == ok() {
        assert!(since.elapsed() < DEADLINE, "the session goes on");
        let mut poll = session.start_poll().await;
        session.post("3").await;
        poll.shutdown().await.unwrap();
        // The gateway closes the connection, perhaps with a reset.
        let mut response = String::new();
        poll.read_to_string(&mut response).await.ok();
        assert_eq!(response, "");
    }
    assert_eq!(session.poll().await.0, 400);
}

#[tokio::test]
async fn a_websocket_carries_a_packet() {
    let (_gateway, endpoint, _database) = start();
    connect_over_websocket(&mut endpoint.open_websocket().await).await;
}

/// The suite's server echoes the binary packet. The gateway accepts none.
#[tokio::test]
async fn a_websocket_with_a_binary_packet_is_closed() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = endpoint.open_websocket().await;
    connect_over_websocket(&mut socket).await;
    socket.send_binary(&[1, 2, 3, 4]).await;
    socket.closed().await;
}

#[tokio::test]
async fn a_malformed_packet_closes_a_websocket() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = endpoint.open_websocket().await;
    socket.send("abc").await;
    socket.closed().await;
}

/// The four scenarios of heartbeats, at the same time, because each waits for the
/// gateway's own intervals: three heartbeats take fifty seconds.
#[tokio::test]
async fn heartbeats_arrive_and_a_client_that_answers_none_is_closed() {
    let (_gateway, endpoint, _database) = start();
    tokio::join!(
        long_polling_carries_heartbeats(endpoint),
        a_long_polling_session_without_answers_to_heartbeats_ends(endpoint),
        a_websocket_carries_heartbeats(endpoint),
        a_websocket_without_answers_to_heartbeats_is_closed(endpoint),
    );
}

async fn long_polling_carries_heartbeats(endpoint: Endpoint) {
    let session = endpoint.open_polling().await;
    // The first heartbeat comes at once.
    assert_eq!(session.poll().await, (200, "2".to_owned()));
    let body = format!("3\u{1e}{}", connect_packet());
    assert_eq!(session.post(&body).await, ok());
    let (status, body) = session.poll().await;
    assert!(status == 200 && body.starts_with("40{"), "{status} {body}");
    for _ in 0..2 {
        assert_eq!(session.poll().await, (200, "2".to_owned()));
        assert_eq!(session.post("3").await, ok());
    }
}

async fn a_long_polling_session_without_answers_to_heartbeats_ends(endpoint: Endpoint) {
    let session = endpoint.open_polling().await;
    let since = Instant::now();
    connect_over_polling(&session).await;
    let mut answer = session.poll().await;
    while answer.0 == 200 {
        answer = session.poll().await;
    }
    assert_eq!(answer.0, 400, "{}", answer.1);
    check_ping_timeout(since);
}

async fn a_websocket_carries_heartbeats(endpoint: Endpoint) {
    let mut socket = endpoint.open_websocket().await;
    assert_eq!(socket.next().await.as_deref(), Some("2"));
    socket.send("3").await;
    connect_over_websocket(&mut socket).await;
    for _ in 0..2 {
        assert_eq!(socket.next().await.as_deref(), Some("2"));
        socket.send("3").await;
    }
}

async fn a_websocket_without_answers_to_heartbeats_is_closed(endpoint: Endpoint) {
    let mut socket = endpoint.open_websocket().await;
    let since = Instant::now();
    connect_over_websocket(&mut socket).await;
    socket.closed().await;
    check_ping_timeout(since);
}

/// The first heartbeat comes at once, so that its 20 seconds end first. The deadline of
/// CONNECT, which would come after ten, is not what ended the session.
fn check_ping_timeout(since: Instant) {
    let elapsed = since.elapsed().as_secs();
    assert!((15..35).contains(&elapsed), "closed after {elapsed} s");
}

#[tokio::test]
async fn a_close_packet_ends_a_long_polling_session() {
    let (_gateway, endpoint, _database) = start();
    let session = endpoint.open_polling().await;
    connect_over_polling(&session).await;
    let (poll, close) = tokio::join!(session.poll_past_heartbeats(), session.post("1"));
    assert_eq!(close, ok());
    // The poll may have arrived after the packet.
    let is_no_op = poll == (200, "6".to_owned());
    assert!(is_no_op || poll.0 == 400, "{poll:?}");
    assert_eq!(session.poll().await.0, 400);
}

#[tokio::test]
async fn a_close_packet_closes_a_websocket() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = endpoint.open_websocket().await;
    socket.send("1").await;
    socket.closed().await;
}

/// Moves a session to a WebSocket.
async fn upgrade(session: &PollingSession) -> RawSocket {
    let mut socket = session.websocket().await.unwrap();
    socket.send("2probe").await;
    assert_eq!(socket.next().await.as_deref(), Some("3probe"));
    // A no-op ends the pending poll, and the first heartbeat may come before it.
    let (status, body) = session.poll().await;
    assert!(
        status == 200 && ["6", "2\u{1e}6"].contains(&body.as_str()),
        "{body}"
    );
    socket.send("5").await;
    socket
}

#[tokio::test]
async fn a_session_upgrades_from_long_polling_to_a_websocket() {
    let (_gateway, endpoint, _database) = start();
    let mut socket = upgrade(&endpoint.open_polling().await).await;
    connect_over_websocket(&mut socket).await;
}

#[tokio::test]
async fn after_an_upgrade_long_polling_is_refused() {
    let (_gateway, endpoint, _database) = start();
    let session = endpoint.open_polling().await;
    let mut socket = upgrade(&session).await;
    // The answer shows that the gateway has read the packet that completes the upgrade.
    connect_over_websocket(&mut socket).await;
    assert_eq!(session.poll().await.0, 400);
    socket.send("421[\"leaveRoom\",{\"roomId\":1}]").await;
    let answer = socket.next_past_heartbeats().await.unwrap();
    assert_eq!(answer, "42[\"leftRoom\",{\"roomId\":1}]");
}

#[tokio::test]
async fn after_an_upgrade_another_websocket_is_refused() {
    let (_gateway, endpoint, _database) = start();
    let session = endpoint.open_polling().await;
    let mut socket = upgrade(&session).await;
    assert_eq!(session.websocket().await.err(), Some(400));
    connect_over_websocket(&mut socket).await;
}
