//! Clients that do as little as possible, because their instructions are counted too.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const JOIN: &str = r#"42["joinRoom",{"roomId":7}]"#;
const JOINED: &str = "42[\"joinedRoom\"";
/// Engine.IO's heartbeat, and its answer.
const PING: &str = "2";
const PONG: &str = "3";

/// A client over a WebSocket.
pub(crate) struct WebSocketClient {
    tcp: TcpStream,
    received: Vec<u8>,
}

impl WebSocketClient {
    /// Connects and joins the room.
    pub(crate) async fn join(address: SocketAddr, token: &str) -> Self {
        let mut client = Self {
            tcp: connect(address).await,
            received: Vec::with_capacity(64 * 1024),
        };
        let upgrade = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n\
            Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        write(&mut client.tcp, upgrade.as_bytes()).await;
        let head = loop {
            match end_of_head(&client.received) {
                Some(end) => break end,
                None => client.read().await,
            }
        };
        client.received.drain(..head);
        client.expect("0{").await;
        client.send(&format!(r#"40{{"token":"{token}"}}"#)).await;
        client.expect("40{").await;
        client.send(JOIN).await;
        client.expect(JOINED).await;
        client
    }

    /// Sends a packet. The masking key is zero, so that the payload is copied as it is.
    pub(crate) async fn send(&mut self, packet: &str) {
        let length = u16::try_from(packet.len()).expect("a short packet");
        let mut frame = vec![0x81];
        match length {
            ..126 => frame.push(0x80 | length as u8),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(packet.as_bytes());
        write(&mut self.tcp, &frame).await;
    }

    /// Waits for the next packet, and answers heartbeats before it.
    ///
    /// # Panics
    /// If it starts with something else.
    pub(crate) async fn expect(&mut self, start: &str) {
        let (head, end) = loop {
            match first_frame(&self.received) {
                Some((head, end)) if self.received[head..end] == *PING.as_bytes() => {
                    self.received.drain(..end);
                    self.send(PONG).await;
                }
                Some(frame) => break frame,
                None => self.read().await,
            }
        };
        let packet = &self.received[head..end];
        assert!(
            packet.starts_with(start.as_bytes()),
            "{} instead of {start}",
            String::from_utf8_lossy(packet)
        );
        self.received.drain(..end);
    }

    async fn read(&mut self) {
        read(&mut self.tcp, &mut self.received).await;
    }
}

/// Returns where the first frame's payload starts and ends, once all of it is there.
fn first_frame(received: &[u8]) -> Option<(usize, usize)> {
    let (head, length) = match *received {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [_, length @ ..126, ..] => (2, usize::from(length)),
        _ => return None,
    };
    (received.len() >= head + length).then_some((head, head + length))
}

/// A client over long-polling, on one connection.
pub(crate) struct PollingClient {
    tcp: TcpStream,
    sid: String,
    received: Vec<u8>,
    /// Packets that were received and are not expected yet.
    packets: String,
}

impl PollingClient {
    /// Connects and joins the room.
    pub(crate) async fn join(address: SocketAddr, token: &str) -> Self {
        let mut client = Self {
            tcp: connect(address).await,
            sid: String::new(),
            received: Vec::with_capacity(64 * 1024),
            packets: String::new(),
        };
        let open = client.request("GET", "").await;
        let sid = open.split('"').nth(3).expect("a session's id");
        client.sid = format!("&sid={sid}");
        client.send(&format!(r#"40{{"token":"{token}"}}"#)).await;
        client.expect("40{").await;
        client.send(JOIN).await;
        client.expect(JOINED).await;
        client
    }

    /// Sends a packet.
    pub(crate) async fn send(&mut self, packet: &str) {
        let answer = self.request("POST", packet).await;
        assert_eq!(answer, "ok");
    }

    /// Waits for the next packet, and answers heartbeats before it.
    ///
    /// # Panics
    /// If it starts with something else.
    pub(crate) async fn expect(&mut self, start: &str) {
        loop {
            if self.packets.is_empty() {
                self.packets = self.request("GET", "").await;
            }
            let packets = std::mem::take(&mut self.packets);
            let (packet, rest) = packets.split_once('\x1e').unwrap_or((&packets, ""));
            self.packets = rest.to_owned();
            if packet != PING {
                assert!(packet.starts_with(start), "{packet} instead of {start}");
                return;
            }
            self.send(PONG).await;
        }
    }

    async fn request(&mut self, method: &str, body: &str) -> String {
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.sid,
            body.len()
        );
        write(&mut self.tcp, request.as_bytes()).await;
        let (head, end) = loop {
            if let Some(head) = end_of_head(&self.received) {
                let end = head + content_length(&self.received[..head]);
                if self.received.len() >= end {
                    break (head, end);
                }
            }
            read(&mut self.tcp, &mut self.received).await;
        };
        let body = String::from_utf8_lossy(&self.received[head..end]).into_owned();
        self.received.drain(..end);
        body
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).expect("a head in ASCII");
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let (_, length) = lines
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .expect("a body of known length");
    length.parse().expect("a number")
}

/// Returns where the head of an HTTP response ends, once all of it is there.
fn end_of_head(received: &[u8]) -> Option<usize> {
    let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    Some(end + 4)
}

async fn connect(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).await;
    let tcp = tcp.expect("the gateway listens");
    tcp.set_nodelay(true).expect("an open connection");
    tcp
}

async fn write(tcp: &mut TcpStream, bytes: &[u8]) {
    tcp.write_all(bytes).await.expect("an open connection");
}

async fn read(tcp: &mut TcpStream, received: &mut Vec<u8>) {
    let count = tcp.read_buf(received).await.expect("an open connection");
    assert_ne!(count, 0, "the gateway closed the connection");
}
