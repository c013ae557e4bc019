//! The limit of incoming packets, to the byte, on both transports.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::{Polling, get};
use crate::support::{DEADLINE, Database, Gateway, metric, token};

/// The limit without the setting, as the contract states it.
const DEFAULT: usize = 65_536;

#[tokio::test(flavor = "multi_thread")]
async fn by_default_a_packet_has_at_most_65536_bytes() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    assert_limit_is(&gateway, DEFAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn max_packet_bytes_sets_the_limit_to_the_byte() {
    let database = Database::sqlite();
    for limit in [1000, 10_001, 100_000] {
        let setting = limit.to_string();
        let gateway = Gateway::start_with(&database, &[("MAX_PACKET_BYTES", &setting)]);
        assert_limit_is(&gateway, limit).await;
    }
}

/// Returns a `sendMessage` packet with this acknowledgement id and of this many bytes. Its
/// unknown key fills it, partly with characters of more than one byte: bytes count, not
/// characters.
fn packet(id: u64, content: &str, bytes: usize) -> String {
    let with = |filler: &str| {
        let payload = json!({"roomId": 1, "content": content, "x": filler});
        format!("42{id}{}", json!(["sendMessage", payload]))
    };
    let free = bytes - with("éé").len();
    let packet = with(&format!("éé{}", "x".repeat(free)));
    assert_eq!(packet.len(), bytes);
    packet
}

/// Requires that a packet of exactly the limit is handled, and that one byte more ends the
/// connection that sent it, without being handled and without effect on others.
async fn assert_limit_is(gateway: &Gateway, limit: usize) {
    // Clients aggregate packets into one request up to the announced limit.
    let (_, open) = get(gateway.address, "/socket.io/?EIO=4&transport=polling").await;
    let open = open.split_once("\r\n\r\n0").unwrap().1;
    let open: Value = serde_json::from_str(open).unwrap();
    assert_eq!(open["maxPayload"], limit);

    let mut witness = gateway.connect("witness").await;
    witness.join(1).await;
    witness.event("joinedRoom").await;

    let mut client = gateway.connect("1").await;
    client.join(1).await;
    client.send_packet(&packet(70, "fits", limit)).await;
    assert_eq!(client.ack(70).await["ok"], true);
    // The gateway may close the connection before the whole packet is sent.
    let too_large = Message::text(packet(71, "too large", limit + 1));
    client.socket.send(too_large).await.ok();
    let ended = async {
        while let Some(Ok(message)) = client.socket.next().await {
            assert!(!message.to_string().contains("too large"), "{message}");
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.unwrap();

    let polling = Polling::connect(gateway.address, &token("2", "Grace")).await;
    assert_eq!(polling.post(r#"420["joinRoom",{"roomId":1}]"#).await.0, 200);
    let (status, body) = polling.post(&packet(70, "fits", limit)).await;
    assert_eq!(status, 200, "{body}");
    while !polling
        .packets()
        .await
        .iter()
        .any(|p| p.starts_with("4370["))
    {}
    assert_eq!(
        polling.post(&packet(71, "too large", limit + 1)).await.0,
        413
    );
    assert_eq!(polling.get().await.0, 400, "the session has ended");

    let refused = metric(gateway, r#"chat_refusals_total{limit="max_packet_bytes"}"#).await;
    assert_eq!(refused, 2, "one on each transport");

    witness.send(1, "barrier").await;
    for content in ["fits", "fits", "barrier"] {
        assert_eq!(witness.any_event().await.1["content"], *content);
    }
}
