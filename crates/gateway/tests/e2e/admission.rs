//! How many rooms, connections and sessions there may be.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::bystander::Bystander;
use crate::support::client::{Client, Polling, get};
use crate::support::{DEADLINE, Database, Gateway, metric, token};

const POLL: &str = "/socket.io/?EIO=4&transport=polling";

/// How soon a refused client's transport must be closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

fn start(environment: &[(&str, &str)]) -> (Database, Gateway) {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, environment);
    (database, gateway)
}

async fn refusals(gateway: &Gateway, limit: &str) -> u64 {
    metric(
        gateway,
        &format!("chat_refusals_total{{limit=\"{limit}\"}}"),
    )
    .await
}

/// Opens a WebSocket without connecting to the namespace.
async fn open(gateway: &Gateway) -> Result<Client, String> {
    let address = gateway.address;
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    Client::open_with(&url, &[]).await
}

/// Requires that a node that is full refuses both transports, before a session exists.
async fn assert_is_full(gateway: &Gateway) {
    let error = open(gateway).await.err().expect("a WebSocket is refused");
    assert!(error.contains("503"), "{error}");
    assert_polling_is_refused(gateway).await;
}

async fn assert_polling_is_refused(gateway: &Gateway) {
    let (status, response) = get(gateway.address, POLL).await;
    assert_eq!(status, 503, "{response}");
    assert!(response.contains("retry-after: 5\r\n"), "{response}");
    assert!(!response.contains("\"sid\""), "{response}");
}

/// Opens a WebSocket as soon as there is a place for it.
async fn open_when_free(gateway: &Gateway) -> Client {
    let opening = async {
        loop {
            if let Ok(client) = open(gateway).await {
                return client;
            }
        }
    };
    timeout(DEADLINE, opening)
        .await
        .expect("a place becomes free")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_can_join_max_rooms_rooms() {
    let (_database, gateway) = start(&[("MAX_ROOMS", "3")]);
    let mut client = gateway.connect("1").await;
    for room in 1..=3 {
        client.join(room).await;
    }
    let refused = client.call("joinRoom", &json!({"roomId": 4})).await;
    let error = &refused["error"];
    assert_eq!(
        (&error["code"], &error["retryable"]),
        (&json!("limit_exceeded"), &json!(false))
    );
    let event = client.event("error").await;
    assert_eq!(
        (&event["code"], &event["roomId"]),
        (&json!("limit_exceeded"), &json!(4))
    );
    let outside = client.send(4, "x").await;
    assert_eq!(outside["error"]["code"], "not_in_room");
    assert_eq!(refusals(&gateway, "max_rooms").await, 1);
    // A room that is joined already can be joined again, and another one after a leave.
    client.join(2).await;
    client.call("leaveRoom", &json!({"roomId": 1})).await;
    client.join(4).await;
    // The limit is each connection's own.
    gateway.connect("1").await.join(9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_a_connection_can_join_200_rooms() {
    let (_database, gateway) = start(&[]);
    let mut client = gateway.connect("1").await;
    for room in 1..=200 {
        client.join(room).await;
    }
    let refused = client.call("joinRoom", &json!({"roomId": 201})).await;
    assert_eq!(refused["error"]["code"], "limit_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_can_have_max_connections_per_user_connections() {
    let (_database, gateway) = start(&[("MAX_CONNECTIONS_PER_USER", "2")]);
    let first = gateway.connect("1").await;
    let polling = Polling::connect(gateway.address, &token("1", "Ada")).await;
    let mut third = open(&gateway).await.unwrap();
    let connect = format!("40{}", json!({"token": token("1", "Ada")}));
    third.send_packet(&connect).await;
    let answer = third.packet().await.unwrap();
    assert_eq!(answer, r#"44{"message":"too_many_connections"}"#);
    third.read_to_end(CLOSE_DEADLINE).await;
    assert_eq!(refusals(&gateway, "max_connections_per_user").await, 1);
    gateway.connect("2").await.join(1).await;
    assert_eq!(polling.post(r#"420["joinRoom",{"roomId":1}]"#).await.0, 200);

    drop(first);
    let again = async {
        loop {
            let mut client = open(&gateway).await.unwrap();
            client.send_packet(&connect).await;
            if client.packet().await.unwrap().starts_with("40{") {
                return;
            }
        }
    };
    timeout(DEADLINE, again)
        .await
        .expect("a place becomes free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_answers_503_before_a_session_exists() {
    let (_database, gateway) = start(&[("MAX_CONNECTIONS", "8")]);
    let mut clients = Vec::new();
    for n in 0..8 {
        clients.push(gateway.connect(&n.to_string()).await);
    }
    assert_is_full(&gateway).await;
    assert_eq!(refusals(&gateway, "max_connections").await, 2);
    // The operator still sees it, and the clients go on.
    assert_eq!(get(gateway.address, "/readyz").await.0, 200);
    for client in &mut clients {
        client.join(1).await;
    }
    gateway.wait_for_log(|log| {
        let line = log
            .lines()
            .find(|line| line.contains("\"max_connections\""))?;
        assert!(line.contains("127.0.0.1"), "{line}");
        Some(())
    });
    clients.pop();
    open_when_free(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_connect_take_at_most_a_quarter() {
    let (_database, gateway) = start(&[("MAX_CONNECTIONS", "8")]);
    let mut first = open(&gateway).await.unwrap();
    let second = Polling::open(gateway.address).await;
    assert_is_full(&gateway).await;
    assert_eq!(refusals(&gateway, "unconnected_sessions").await, 2);
    // CONNECT makes room, and so does the end of a client that never connects.
    let connect = format!("40{}", json!({"token": token("1", "Ada")}));
    first.send_packet(&connect).await;
    assert!(first.packet().await.unwrap().starts_with("40{"));
    let third = open(&gateway).await.unwrap();
    assert_is_full(&gateway).await;
    drop(third);
    open_when_free(&gateway).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_polling_sessions_take_at_most_a_quarter() {
    let (_database, gateway) = start(&[("MAX_CONNECTIONS", "8")]);
    let first = Polling::connect(gateway.address, &token("1", "Ada")).await;
    let _second = Polling::connect(gateway.address, &token("2", "Ada")).await;
    assert_polling_is_refused(&gateway).await;
    assert_eq!(refusals(&gateway, "polling_sessions").await, 1);
    gateway.connect("3").await.join(1).await;
    // A session that moves to a WebSocket makes room.
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket&sid={}",
        gateway.address, first.sid
    );
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let third = Polling::connect(gateway.address, &token("4", "Ada")).await;
    // While its WebSocket lasts.
    drop((socket, third));
    assert_polling_is_refused(&gateway).await;
}

/// Peers that open connections and send nothing cannot take all of the process's files.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_bounded_and_disturb_no_client() {
    let (_database, gateway) = start(&[("MAX_CONNECTIONS", "8")]);
    let mut bystander = Bystander::join(&gateway, 1).await;
    let before = gateway.open_files();
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    let mut refused = 0;
    // The last ones are refused without being asked for anything.
    for stream in silent.iter_mut().skip(100) {
        let mut answer = [0; 12];
        let reading = timeout(DEADLINE, stream.read_exact(&mut answer));
        reading.await.expect("an answer").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 503");
        refused += 1;
    }
    assert!(refusals_of_log(&gateway), "the refusals are logged");
    assert!(
        gateway.open_files() <= before + 64,
        "{}",
        gateway.open_files()
    );
    assert_eq!(refused, 200);
    bystander.send_undisturbed().await;
    drop(silent);
    // The places are free again.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        let exchange = async {
            stream.write_all(request).await?;
            stream.read_to_string(&mut answer).await
        };
        if exchange.await.is_ok() && answer.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{answer}");
    }
    assert!(refusals(&gateway, "http_connections").await >= 200);
}

fn refusals_of_log(gateway: &Gateway) -> bool {
    gateway.wait_for_log(|log| log.contains("\"http_connections\"").then_some(true))
}
