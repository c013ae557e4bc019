//! Connections: both transports, deadlines, limits, and clients that are no good.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::{Client, Polling, http};
use crate::support::{Database, Gateway, SOON, token};

fn start(environment: &[(&str, &str)]) -> (Database, Gateway) {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, environment);
    (database, gateway)
}

/// A witness that the gateway serves others all the while.
async fn is_served(gateway: &Gateway) {
    let mut client = Client::connect(gateway.address, &token("9", "witness")).await;
    client.join(9).await;
    assert_eq!(client.send(9, "x").await["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_upgrades_in_the_middle_of_traffic_without_a_hole() {
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
        collect(&polling.get().await.1, &mut seqs);
    }
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket&sid={}",
        gateway.address, polling.sid
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(url.as_str())
        .await
        .unwrap();
    // A second one for the same session changes nothing.
    assert!(
        tokio_tungstenite::connect_async(url.as_str())
            .await
            .is_err()
    );
    socket.send(Message::text("2probe")).await.unwrap();
    // Polling ends with a no-op, after what was on its way.
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
async fn a_request_that_never_ends_is_ended() {
    let (_database, gateway) = start(&[]);
    let asked = Instant::now();
    // Nothing at all, half a head, and half a body.
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut slow = TcpStream::connect(gateway.address).await.unwrap();
    slow.write_all(b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .await
        .unwrap();
    let polling = Polling::connect(gateway.address, &token("1", "Ada")).await;
    let mut half = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: x\r\n\
         Content-Length: 100\r\n\r\n42[",
        polling.sid
    );
    half.write_all(head.as_bytes()).await.unwrap();
    for stream in [&mut silent, &mut slow, &mut half] {
        let mut rest = Vec::new();
        let reading = stream.read_to_end(&mut rest);
        tokio::time::timeout(Duration::from_secs(14), reading)
            .await
            .unwrap()
            .ok();
    }
    assert!(
        asked.elapsed() >= Duration::from_secs(9),
        "{:?}",
        asked.elapsed()
    );
    is_served(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_over_the_limit_ends_only_its_own_connection() {
    let (_database, gateway) = start(&[("MAX_PACKET_BYTES", "10000")]);
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    client.join(1).await;
    let fits = "x".repeat(4000);
    assert_eq!(client.send(1, &fits).await["ok"], true);
    client
        .emit(
            "sendMessage",
            &json!({"roomId": 1, "content": "x".repeat(10_001)}),
        )
        .await;
    client.read_to_end(Duration::from_secs(5)).await;

    let polling = Polling::connect(gateway.address, &token("1", "Ada")).await;
    let (status, _) = polling
        .post(&format!("42[\"x\",\"{}\"]", "x".repeat(10_001)))
        .await;
    assert_eq!(status, 413);
    is_served(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_is_a_limit_too() {
    let (_database, gateway) = start(&[("MAX_PACKET_BYTES", "0"), ("MAX_IN_FLIGHT", "0")]);
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    let content = "x".repeat(3_000_000);
    let answer = client
        .call("sendMessage", &json!({"roomId": 1, "content": content}))
        .await;
    assert_eq!(answer["error"]["code"], "invalid_payload");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_framing_ends_only_its_own_connection() {
    let (_database, gateway) = start(&[]);
    let ada = token("1", "Ada");
    for packet in [
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
    ] {
        let mut client = Client::connect(gateway.address, &ada).await;
        client.socket.send(Message::text(packet)).await.ok();
        client.socket.send(Message::text("\u{1e}")).await.ok();
        // Whatever it answers, or if it closes: somebody else is served.
        drop(client);
    }
    let mut client = Client::connect(gateway.address, &ada).await;
    for binary in [vec![], vec![4, 50], vec![0; 1000]] {
        client.socket.send(Message::binary(binary)).await.ok();
    }
    is_served(&gateway).await;
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
    }
    is_served(&gateway).await;
}

/// The gateway and socketioxide must not read a request differently: a WebSocket that the
/// one opens without the other would escape the origin check and the kill switch.
#[tokio::test(flavor = "multi_thread")]
async fn a_transport_must_be_named_exactly() {
    let (_database, gateway) = start(&[]);
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
    }
    is_served(&gateway).await;
}

/// An upgrade that cannot succeed is refused, and polling goes on: the next poll waits for a
/// packet instead of being answered with nothing, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn polling_goes_on_after_an_upgrade_that_could_not_succeed() {
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
        while !polling.get().await.1.contains("430[") {}
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
        let poll = tokio::spawn(async move { polling.get().await });
        assert_eq!(writer.send(1, "after the upgrade").await["ok"], true);
        let (status, body) = tokio::time::timeout(SOON, poll).await.unwrap().unwrap();
        assert!(
            status == 200 && body.contains("after the upgrade"),
            "{request}: {status} {body}"
        );
    }
}

/// A member that stops reading fills its own buffers, is cut off, and delays
/// nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stops_reading_is_cut_off_and_delays_nobody() {
    let (_database, gateway) = start(&[("MAX_IN_FLIGHT", "0")]);
    let mut stuck = Client::connect(gateway.address, &token("1", "Ada")).await;
    stuck.join(1).await;
    let mut reader = Client::connect(gateway.address, &token("2", "Grace")).await;
    reader.join(1).await;
    let mut writer = Client::connect(gateway.address, &token("3", "Mary")).await;
    writer.join(1).await;

    let mut gateway = gateway;
    let content = "🦀".repeat(4000);
    let since = Instant::now();
    let mut sent = 0;
    let is_cut_off = loop {
        let started = Instant::now();
        let answer = writer.send(1, &content).await;
        assert_eq!(answer["ok"], true);
        sent += 1;
        assert_eq!(reader.event("newMessage").await["seq"], sent);
        assert!(started.elapsed() < Duration::from_secs(2), "somebody waits");
        let metrics = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let (_, metrics) = http(gateway.address, metrics).await;
        if metrics.contains("chat_connections 2") {
            break true;
        }
        if since.elapsed() > Duration::from_secs(60) {
            break false;
        }
    };
    assert!(is_cut_off, "{sent} messages later it is still a member");
    // What it had not read is lost with it, and it can tell: no disconnect packet.
    let rest = stuck.read_to_end(Duration::from_secs(10)).await;
    assert!(!rest.iter().any(|packet| packet == "41"));
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
}

/// Somebody floods without reading the answers: nothing more is read from it, and
/// memory does not grow.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_reading_is_not_read_from() {
    let (_database, gateway) = start(&[]);
    let mut client = Client::connect(gateway.address, &token("1", "Ada")).await;
    let flood = async {
        let packet = Message::text(format!("420[\"x\",\"{}\"]", "y".repeat(100)));
        for _ in 0..2_000_000 {
            client.socket.feed(packet.clone()).await?;
        }
        client.socket.flush().await
    };
    let flooded = tokio::time::timeout(Duration::from_secs(3), flood).await;
    assert!(flooded.is_err(), "it is slowed down: {flooded:?}");
    let kib = resident_kib(&gateway);
    assert!(kib < 100_000, "{kib} KiB");
    is_served(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_its_own_flood_gets_every_answer() {
    let (_database, gateway) = start(&[]);
    let client = Client::connect(gateway.address, &token("1", "Ada")).await;
    const MANY: u64 = 20_000;
    let (mut sink, mut stream) = client.socket.split();
    let writing = tokio::spawn(async move {
        for n in 0..MANY {
            let packet = format!("42{n}[\"nonsense\",{{\"roomId\":1}}]");
            sink.feed(Message::text(packet)).await.unwrap();
        }
        sink.flush().await.unwrap();
        sink
    });
    let (mut errors, mut acks) = (0, 0);
    while acks < MANY {
        let message = tokio::time::timeout(Duration::from_secs(10), stream.next());
        match message.await.unwrap().unwrap().unwrap() {
            Message::Text(text) if text.starts_with("42[\"error\"") => errors += 1,
            Message::Text(text) if text.starts_with("43") => acks += 1,
            Message::Text(text) => assert_eq!(text.as_str(), "2"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(errors, MANY);
    drop(writing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_connects_to_the_namespace_is_closed() {
    let (_database, gateway) = start(&[]);
    let mut client = Client::open(gateway.address).await;
    client.say("40/elsewhere,").await;
    let refused = client.packet().await.unwrap();
    assert!(refused.starts_with("44/elsewhere,"), "{refused}");
    client.read_to_end(Duration::from_secs(15)).await;
}

/// Ten thousand connect, join and vanish: memory and descriptors level off, and no
/// room keeps anything.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clients_that_come_and_go_leave_nothing() {
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
                    // Dropped without a word.
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        if round == ROUNDS / 2 {
            resident_half_way = resident_kib(&gateway);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let metrics = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let files = || {
        std::fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
            .unwrap()
            .count()
    };
    loop {
        let (_, text) = http(gateway.address, metrics).await;
        let is_empty =
            text.contains("chat_connections 0\n") && text.contains("chat_active_rooms 0\n");
        if is_empty && files() < 40 {
            break;
        }
        assert!(Instant::now() < deadline, "{} files, {text}", files());
    }
    let grown = resident_kib(&gateway).saturating_sub(resident_half_way);
    assert!(
        grown < 4096,
        "{grown} KiB more than after half of them ({resident_half_way} KiB)"
    );
}

fn resident_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}
