//! Clients that read slowly or not at all: what they cost, when they are disconnected, and
//! that no other client waits for them.

use std::io;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::bystander::Bystander;
use crate::support::client::{Client, Polling};
use crate::support::metrics::{Scrape, connections};
use crate::support::{DEADLINE, Database, Gateway, token};

/// Clients per way of stopping.
const CLIENTS: u64 = 20;
/// The length of a text that JSON escapes sixfold.
const CHARACTERS: usize = 4000;

/// Connects a client with a receive buffer of 4 KiB, so that little is on the way to it.
async fn connect_with_small_buffer(gateway: &Gateway, user: &str) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(gateway.address).await.unwrap();
    Client::connect_through(stream, gateway.address, &token(user, "Ada")).await
}

fn reset_peak_memory(gateway: &Gateway) {
    std::fs::write(format!("/proc/{}/clear_refs", gateway.pid()), "5").unwrap();
}

/// In catch-up, replay and pages alike, the gateway holds at most 1 MiB for a client that
/// stops reading, and disconnects it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_costs_at_most_a_mebibyte() {
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "0")]);
    let mut writer = Client::connect(gateway.address, &token("w", "Writer")).await;
    let content = "\u{1}".repeat(CHARACTERS);
    for room in [1, 2] {
        writer.join(room).await;
    }
    let mut write = async |room: u64, count: usize| {
        let mut last = 0;
        let message = json!({"roomId": room, "content": content});
        for _ in 0..count {
            last = writer.start("sendMessage", &message).await;
        }
        assert_eq!(writer.ack(last).await["ok"], true);
        writer.take_events();
    };
    for _ in 0..20 {
        write(1, 50).await;
    }
    reset_peak_memory(&gateway);
    let before = gateway.memory_kib("VmHWM");

    // Members that fall behind, clients in a replay, and clients that request pages.
    let mut stopped = Vec::new();
    for n in 0..CLIENTS {
        let mut member = connect_with_small_buffer(&gateway, &format!("m{n}")).await;
        member.join(2).await;
        let mut replayed = connect_with_small_buffer(&gateway, &format!("r{n}")).await;
        let replay = json!({"roomId": 1, "afterSeq": 0});
        replayed.start("joinRoom", &replay).await;
        let mut paging = connect_with_small_buffer(&gateway, &format!("p{n}")).await;
        paging.join(1).await;
        for _ in 0..20 {
            let page = json!({"roomId": 1, "limit": 200});
            paging.start("listMessages", &page).await;
        }
        stopped.extend([member, replayed, paging]);
    }
    for _ in 0..4 {
        write(2, 50).await;
    }
    let disconnected = async { while connections(gateway.address).await > 1 {} };
    timeout(DEADLINE + Duration::from_secs(10), disconnected)
        .await
        .expect("every client that stopped reading is disconnected");
    let cost = (gateway.memory_kib("VmHWM") - before) / stopped.len() as u64;
    assert!(cost <= 1024, "{cost} KiB per client");
}

/// However large a burst is, a client that reads is never disconnected and misses nothing:
/// the gateway serves it from the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_receives_every_message() {
    const MESSAGES: u64 = 600;
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "0")]);
    let mut slow = gateway.connect("1").await;
    slow.join(1).await;
    let mut fast = gateway.connect("2").await;
    fast.join(1).await;
    let mut writer = gateway.connect("3").await;
    writer.join(1).await;
    let content = "🦀".repeat(4000);
    let mut slowly = 0;
    for n in 1..=MESSAGES {
        assert_eq!(writer.send(1, &content).await["message"]["seq"], n);
        // The fast client does not wait for the slow one.
        assert_eq!(fast.event("newMessage").await["seq"], n);
        if n % 4 == 0 {
            slowly += 1;
            assert_eq!(slow.event("newMessage").await["seq"], slowly);
        }
    }
    // It is behind by more than its buffers hold.
    for n in slowly + 1..=MESSAGES {
        assert_eq!(slow.event("newMessage").await["seq"], n);
    }
    writer.send(1, "live again").await;
    assert_eq!(slow.event("newMessage").await["content"], "live again");
}

/// On either transport, such a client leaves its rooms. It receives no Socket.IO disconnect,
/// so that the standard client reconnects.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_for_ten_seconds_is_disconnected() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut stuck = gateway.connect("1").await;
    stuck.join(1).await;
    let poller = Polling::connect(gateway.address, &token("2", "x")).await;
    poller.post(r#"42["joinRoom",{"roomId":1}]"#).await;
    assert!(poller.packets().await[0].contains("joinedRoom"));
    let mut writer = gateway.connect("3").await;
    writer.join(1).await;
    let content = "🦀".repeat(4000);
    let since = Instant::now();
    while connections(gateway.address).await != 1 {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "a client that reads nothing is still connected"
        );
        assert_eq!(writer.send(1, &content).await["ok"], true);
    }
    assert!(
        since.elapsed() >= Duration::from_secs(9),
        "{:?}",
        since.elapsed()
    );
    let stalled = r#"chat_forced_disconnects_total{reason="stalled"}"#;
    assert_eq!(Scrape::of(gateway.address).await.value(stalled), 2.0);
    let rest = stuck.read_to_end(Duration::from_secs(10)).await;
    assert!(!rest.iter().any(|packet| packet.starts_with("41")));
    assert_eq!(poller.get().await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stops_reading_is_disconnected_and_delays_no_other_member() {
    let database = Database::sqlite();
    let mut gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "0")]);
    let mut stuck = gateway.connect("1").await;
    stuck.join(1).await;
    let mut reader = gateway.connect("2").await;
    reader.join(1).await;
    let mut writer = gateway.connect("3").await;
    writer.join(1).await;

    let content = "🦀".repeat(4000);
    let since = Instant::now();
    let mut sent = 0;
    let is_disconnected = loop {
        let started = Instant::now();
        let answer = writer.send(1, &content).await;
        assert_eq!(answer["ok"], true);
        sent += 1;
        assert_eq!(reader.event("newMessage").await["seq"], sent);
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "another member waits"
        );
        if connections(gateway.address).await == 2 {
            break true;
        }
        if since.elapsed() > Duration::from_secs(60) {
            break false;
        }
    };
    assert!(
        is_disconnected,
        "it is still a member after {sent} messages"
    );
    // The transport is closed without a disconnect packet, so that the standard client
    // reconnects and fetches the messages that it has not read.
    let rest = stuck.read_to_end(Duration::from_secs(10)).await;
    assert!(!rest.iter().any(|packet| packet == "41"));
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
}

/// An event as a masked WebSocket frame. The mask is zero, so that the text stays readable.
fn frame_of_event() -> Vec<u8> {
    let packet = format!("420[\"x\",\"{}\"]", "y".repeat(100));
    let length = u8::try_from(packet.len()).unwrap();
    assert!(length < 126, "a length in one byte");
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend(packet.as_bytes());
    frame
}

/// Writes frames until the kernel has accepted no byte for a second, and returns how many
/// bytes it has accepted.
async fn flood(stream: &TcpStream, most: usize) -> usize {
    let frame = frame_of_event();
    let frames = frame.repeat(500);
    let mut accepted = 0;
    let mut last_accepted = Instant::now();
    while last_accepted.elapsed() < Duration::from_secs(1) {
        let rest = &frames[accepted % frames.len()..];
        match stream.try_write(rest) {
            Ok(bytes) => {
                accepted += bytes;
                last_accepted = Instant::now();
                assert!(accepted < most, "the gateway still reads");
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = Duration::from_secs(1).saturating_sub(last_accepted.elapsed());
                timeout(left, stream.writable()).await.ok();
            }
            Err(error) => panic!("{error}"),
        }
    }
    accepted
}

/// The gateway stops reading from a client that sends events without reading the answers, so
/// that memory does not grow: the client cannot write another byte. It continues as soon as
/// the client reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_floods_without_reading_can_write_nothing_until_it_reads() {
    const MOST: usize = 100 << 20;
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut bystander = Bystander::join(&gateway, 1).await;
    let client = connect_with_small_buffer(&gateway, "1").await;
    let MaybeTlsStream::Plain(mut stream) = client.socket.into_inner() else {
        unreachable!("the tests use no TLS")
    };
    let accepted = flood(&stream, MOST).await;
    // The gateway is not merely busy: it serves another client.
    bystander.send_undisturbed().await;
    let refused = stream.try_write(&[0]).map_err(|error| error.kind());
    assert_eq!(refused, Err(io::ErrorKind::WouldBlock));
    let kib = gateway.memory_kib("VmRSS");
    assert!(kib < 100_000, "{kib} KiB");

    let mut answers = vec![0; 1 << 16];
    let reading = async {
        let mut written = 0;
        let rest = &frame_of_event().repeat(500)[accepted % frame_of_event().len()..];
        while written < rest.len() {
            assert_ne!(stream.read(&mut answers).await.unwrap(), 0);
            written += stream.try_write(&rest[written..]).unwrap_or(0);
        }
    };
    timeout(DEADLINE, reading)
        .await
        .expect("the gateway reads again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_floods_and_reads_receives_every_answer() {
    const EVENTS: u64 = 20_000;
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let client = gateway.connect("1").await;
    let (mut sink, mut stream) = client.socket.split();
    let writing = tokio::spawn(async move {
        for n in 0..EVENTS {
            let packet = format!("42{n}[\"nonsense\",{{\"roomId\":1}}]");
            sink.feed(Message::text(packet)).await.unwrap();
        }
        sink.flush().await.unwrap();
        sink
    });
    let (mut errors, mut acks) = (0, 0);
    while acks < EVENTS {
        let message = timeout(Duration::from_secs(10), stream.next());
        match message.await.unwrap().unwrap().unwrap() {
            Message::Text(text) if text.starts_with("42[\"error\"") => errors += 1,
            Message::Text(text) if text.starts_with("43") => acks += 1,
            Message::Text(text) => assert_eq!(text.as_str(), "2"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(errors, EVENTS);
    drop(writing.await.unwrap());
}

/// Responses to HTTP requests are bounded like everything else that waits for a client.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_requests_and_reads_no_response_is_gone_within_thirty_seconds() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut bystander = Bystander::join(&gateway, 1).await;
    let (sockets, memory) = (gateway.open_sockets(), gateway.memory_kib("VmRSS"));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(gateway.address).await.unwrap();
    let requests = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let since = Instant::now();
    let mut written = 0;
    // The end shows when the kernel refuses to send more.
    loop {
        let rest = &requests.as_bytes()[written % requests.len()..];
        match stream.try_write(rest) {
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                timeout(Duration::from_millis(100), stream.writable())
                    .await
                    .ok();
            }
            Err(_) => break,
        }
        assert!(since.elapsed() < Duration::from_secs(30), "still connected");
        let grown = gateway.memory_kib("VmRSS").saturating_sub(memory);
        assert!(grown < 4096, "{grown} KiB");
    }
    let closed = async {
        while gateway.open_sockets() > sockets {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, closed)
        .await
        .expect("its socket is closed");
    bystander.send_undisturbed().await;
}
