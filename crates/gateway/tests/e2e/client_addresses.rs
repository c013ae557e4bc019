//! The client's address in the log.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway, token};

/// Returns the log lines with this message.
fn lines(gateway: &Gateway, message: &str, count: usize) -> Vec<Value> {
    gateway.wait_for_log(|log| {
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let lines: Vec<Value> = lines
            .filter(|line: &Value| line["message"] == message)
            .collect();
        (lines.len() >= count).then_some(lines)
    })
}

/// Connects one client that is accepted and one that is refused.
async fn connect_both(gateway: &Gateway, forwarded_for: &str) {
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        gateway.address
    );
    for token in [token("1", "Ada"), "x".to_owned()] {
        let headers = [("x-forwarded-for", forwarded_for)];
        let mut client = Client::open_with(&url, &headers).await.unwrap();
        let connect = format!("40{}", json!({ "token": token }));
        client.send_packet(&connect).await;
        client.packet().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_clients_address_and_trusts_configured_proxies_only() {
    for (trusted, expected) in [
        ("", "127.0.0.1"),
        ("10.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "203.0.113.9"),
    ] {
        let database = Database::sqlite();
        let settings = [
            ("TRUSTED_PROXIES", trusted),
            ("RUST_LOG", "chat_gateway=debug"),
        ];
        let gateway = Gateway::start_with(&database, &settings);
        connect_both(&gateway, "198.51.100.1, 203.0.113.9").await;
        for message in ["a client has connected", "a client is refused"] {
            let lines = lines(&gateway, message, 1);
            assert_eq!(lines[0]["client"], expected, "{lines:?}");
        }
    }
}
