//! Connections over both transports: upgrades, deadlines, limits, malformed input, and
//! clean-up.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::bystander::Bystander;
use crate::support::client::{Client, Polling, http};
use crate::support::metrics::Scrape;
use crate::support::{DEADLINE, Database, Gateway, token};

fn start(environment: &[(&str, &str)]) -> (Database, Gateway) {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, environment);
    (database, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_during_traffic_loses_no_message_and_duplicates_none() {
    let (_database, gateway) = start(&[("MAX_IN_FLIGHT", "0")]);
    let mut writer = Client::connect(gateway.address, &token("1", "Ada")).await;
    writer.join(1).await;
    let polling = Polling::connect(gateway.address, &token("2", "Grace")).await;
    polling.post(r#"420["joinRoom",{"roomId":1}]"#).await;

    let writing = tokio::spawn(async move {
        for n in 0..300 {
            writer.send(1, &n.to_string()).await;
        }
    });
    let mut seqs = Vec::new();
    let collect = |packets: &str, seqs: &mut Vec<u64>| {
        for packet in packets.split('\u{1e}') {
            if let Some(event) = packet.strip_prefix(r#"42["newMessage","#) {
                let message: serde_json::Value =
                    serde_json::from_str(&event[..event.len() - 1]).unwrap();
                seqs.push(message["seq"].as_u64().unwrap());
            }
        }
    };
    while seqs.len() < 20 {
        let (status, body) = polling.get().await;
        assert_eq!(status, 200, "{body}");
        collect(&body, &mut seqs);
    }
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket&sid={}",
        gateway.address, polling.sid
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(url.as_str())
        .await
        .unwrap();
    // A second WebSocket for the same session is refused.
    assert!(
        tokio_tungstenite::connect_async(url.as_str())
            .await
            .is_err()
    );
    socket.send(Message::text("2probe")).await.unwrap();
    // Polling ends with a no-op, after the packets that are still to be polled.
    loop {
        let (status, body) = polling.get().await;
        assert_eq!(status, 200, "{body}");
        collect(&body, &mut seqs);
        if body.ends_with('6') {
            break;
        }
    }
    let probe = socket.next().await.unwrap().unwrap();
    assert_eq!(probe, Message::text("3probe"));
    socket.send(Message::text("5")).await.unwrap();
    while seqs.len() < 300 {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next());
        match message.await.unwrap().unwrap().unwrap() {
            Message::Text(text) => collect(&text, &mut seqs),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seqs, (1..=300).collect::<Vec<_>>());
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_request_is_closed_at_its_deadline() {
    let (_database, gateway) = start(&[]);
    let mut bystander = Bystander::join(&gateway, 1).await;
    let polling = Polling::connect(gateway.address, &token("1", "Ada")).await;
    let part_of_body = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: x\r\n\
         Content-Length: 100\r\n\r\n42[",
        polling.sid
    );
    let part_of_head = "GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    let mut closing = Vec::new();
    for part in [String::new(), part_of_head.to_owned(), part_of_body] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let since = Instant::now();
        stream.write_all(part.as_bytes()).await.unwrap();
        closing.push(tokio::spawn(async move {
            let mut rest = Vec::new();
            let reading = stream.read_to_end(&mut rest);
            tokio::time::timeout(DEADLINE, reading).await.unwrap().ok();
            (part, since.elapsed())
        }));
    }
    for closing in closing {
        let (part, elapsed) = closing.await.unwrap();
        let (earliest, latest) = (Duration::from_secs(9), Duration::from_secs(14));
        assert!(
            (earliest..latest).contains(&elapsed),
            "{part:?} was closed after {elapsed:?}"
        );
    }
    bystander.send_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_over_the_limit_closes_only_its_own_connection() {
    let (_database, gateway) = start(&[("MAX_PACKET_BYTES", "10000")]);
    let mut bystander = Bystander::join(&gateway, 1).await;
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    client.join(2).await;
    let fits = "x".repeat(4000);
    assert_eq!(client.send(2, &fits).await["ok"], true);
    client
        .emit(
            "sendMessage",
            &json!({"roomId": 2, "content": "x".repeat(10_001)}),
        )
        .await;
    client.read_to_end(Duration::from_secs(5)).await;
    bystander.send_undisturbed().await;

    let polling = Polling::connect(gateway.address, &token("1", "Ada")).await;
    let (status, _) = polling
        .post(&format!("42[\"x\",\"{}\"]", "x".repeat(10_001)))
        .await;
    assert_eq!(status, 413);
    bystander.send_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_packet_limit_a_packet_of_three_megabytes_is_answered() {
    let (_database, gateway) = start(&[("MAX_PACKET_BYTES", "0"), ("MAX_IN_FLIGHT", "0")]);
    let mut bystander = Bystander::join(&gateway, 1).await;
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    let content = "x".repeat(3_000_000);
    let answer = client
        .call("sendMessage", &json!({"roomId": 1, "content": content}))
        .await;
    assert_eq!(answer["error"]["code"], "invalid_payload");
    bystander.send_undisturbed().await;
}

/// The connection that sends the packet is a member of the bystander's room.
#[tokio::test(flavor = "multi_thread")]
async fn broken_framing_disturbs_no_other_connection() {
    let (_database, gateway) = start(&[]);
    let ada = token("1", "Ada");
    let mut bystander = Bystander::join(&gateway, 1).await;
    let packets = [
        "",
        "4",
        "7",
        "9garbage",
        "42",
        "42{",
        "42[1,{}]",
        "42[]",
        "42[\"x\"",
        "45[\"x\"]",
        "4999999999999999999999[\"x\"]",
        "429999999999999999999999[\"x\",{}]",
        "451-[\"x\"]",
        "4599999999999-[\"x\"]",
        "43[]",
        "439[]",
        "44{}",
        "40",
        "42/x,[\"y\"]",
        "2/é,[\"é\"]",
        "\u{0}",
        "\u{1e}",
    ];
    let texts = packets.map(Message::text);
    let binaries = [vec![], vec![4, 50], vec![0; 1000]].map(Message::binary);
    for packet in texts.into_iter().chain(binaries) {
        let mut client = Client::connect(gateway.address, &ada).await;
        client.join(1).await;
        client.socket.send(packet.clone()).await.unwrap();
        bystander.send_undisturbed().await;
        // The gateway may answer the packet or close the connection. Once it has closed the
        // connection, at the latest in reply to a close frame, it has read the packet.
        client.socket.close(None).await.ok();
        client.read_to_end(DEADLINE).await;
        bystander.send_undisturbed().await;
    }
    for packet in packets {
        let polling = Polling::connect(gateway.address, &ada).await;
        // The gateway may accept the packet, or end the session.
        let (status, body) = polling.post(packet).await;
        assert!(
            status == 200 || (400..500).contains(&status),
            "{packet}: {body}"
        );
        bystander.send_undisturbed().await;
    }
    for request in [
        "GET / HTTP/9\r\n\r\n",
        "GET /socket.io/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /socket.io/?EIO=3&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /socket.io/?EIO=4&transport=carrier HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "PUT /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let (status, response) = http(gateway.address, request).await;
        assert!((400..500).contains(&status), "{request}: {response}");
        bystander.send_undisturbed().await;
    }
}

/// The gateway and socketioxide must read a query in the same way: a WebSocket that the
/// gateway does not recognize would bypass the origin check and the kill switch.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_exactly_one_valid_transport_and_version_is_refused() {
    let (_database, gateway) = start(&[]);
    let mut bystander = Bystander::join(&gateway, 1).await;
    for query in [
        "EIO=4&transport=websocket=x",
        "EIO=4&transport=websocket%00",
        "EIO=4&transport=polling&transport=websocket",
        "EIO=4&transport=websocket&transport=polling",
        "EIO=4=4&transport=websocket",
        "EIO=4&EIO=3&transport=websocket",
    ] {
        let request = format!(
            "GET /socket.io/?{query} HTTP/1.1\r\nHost: {}\r\nOrigin: https://evil.example\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            gateway.address
        );
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 400", "{query}");
        bystander.send_undisturbed().await;
    }
}

/// After a refused upgrade, the next poll waits for a packet. Empty answers would make the
/// client poll in a busy loop.
#[tokio::test(flavor = "multi_thread")]
async fn polling_continues_after_an_upgrade_that_cannot_succeed() {
    let (_database, gateway) = start(&[]);
    let mut writer = Client::connect(gateway.address, &token("1", "Ada")).await;
    writer.join(1).await;
    for (version, connection, upgrade) in [
        (
            "HTTP/1.0",
            "Connection: Upgrade\r\n",
            "Upgrade: websocket\r\n",
        ),
        (
            "HTTP/1.1",
            "Connection: close\r\n",
            "Upgrade: websocket\r\n",
        ),
        ("HTTP/1.1", "Connection: Upgrade\r\n", ""),
        ("HTTP/1.1", "Connection: Upgrade\r\n", "Upgrade: h2c\r\n"),
    ] {
        let polling = Polling::connect(gateway.address, &token("2", "Grace")).await;
        polling.post(r#"420["joinRoom",{"roomId":1}]"#).await;
        let is_joined = |packets: Vec<String>| packets.iter().any(|p| p.starts_with("430["));
        while !is_joined(polling.packets().await) {}
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket&sid={} {version}\r\nHost: x\r\n\
             {connection}{upgrade}Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            polling.sid
        );
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status[9..], b"400", "{request}");
        // A heartbeat may come first.
        let poll = tokio::spawn(async move { polling.packets().await });
        assert_eq!(writer.send(1, "after the upgrade").await["ok"], true);
        let packets = tokio::time::timeout(DEADLINE, poll).await.unwrap().unwrap();
        assert!(
            packets[0].contains("after the upgrade"),
            "{request}: {packets:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_connects_to_the_namespace_is_disconnected() {
    let (_database, gateway) = start(&[]);
    let mut client = Client::open(gateway.address).await;
    client.send_packet("40/elsewhere,").await;
    let refused = client.packet().await.unwrap();
    assert!(refused.starts_with("44/elsewhere,"), "{refused}");
    client.read_to_end(Duration::from_secs(15)).await;
}

/// Ten thousand clients connect, join a room and disappear without a disconnect: memory and
/// descriptors level off, and no room stays active.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_short_connections_leak_nothing() {
    const AT_ONCE: u64 = 50;
    const ROUNDS: u64 = 200;
    let (_database, gateway) = start(&[]);
    let tokens: Vec<_> = (0..AT_ONCE).map(|n| token(&n.to_string(), "x")).collect();
    let mut resident_half_way = 0;
    for round in 0..ROUNDS {
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let (address, token) = (gateway.address, tokens[n as usize].clone());
                tokio::spawn(async move {
                    let mut client = Client::connect(address, &token).await;
                    client.join(round * AT_ONCE + n + 1).await;
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        if round == ROUNDS / 2 {
            resident_half_way = gateway.memory_kib("VmRSS");
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let metrics = Scrape::of(gateway.address).await;
        let is_empty =
            metrics.sum("chat_connections") == 0.0 && metrics.sum("chat_active_rooms") == 0.0;
        let files = gateway.open_files();
        if is_empty && files < 40 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{files} open files, {}",
            metrics.text
        );
    }
    let grown = gateway
        .memory_kib("VmRSS")
        .saturating_sub(resident_half_way);
    assert!(
        grown < 4096,
        "{grown} KiB more than after half of them ({resident_half_way} KiB)"
    );
}
