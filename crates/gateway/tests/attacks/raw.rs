//! A client that can send any bytes on a WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{DEADLINE, token};

/// An opened WebSocket, of which nothing is interpreted.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    /// Opens a WebSocket; returns the status of the refusal if the gateway does not.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, u16> {
        Self::open_with(address, "").await
    }

    /// Opens a WebSocket with an additional part of the query.
    pub(crate) async fn open_with(address: SocketAddr, query: &str) -> Result<Self, u16> {
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let exchange = async {
            let mut stream = TcpStream::connect(address).await.map_err(|_| 0_u16)?;
            stream
                .write_all(request.as_bytes())
                .await
                .map_err(|_| 0_u16)?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                // A refusal may end early.
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8_lossy(&head);
            let status = head
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok());
            match status {
                Some(101) => Ok(Self { stream }),
                other => Err(other.unwrap_or(0)),
            }
        };
        timeout(DEADLINE, exchange).await.expect("an answer")
    }

    /// Opens a WebSocket and connects as this user.
    pub(crate) async fn connect(address: SocketAddr, user: &str) -> Self {
        let mut raw = Self::open(address).await.expect("a WebSocket");
        let connect = format!("40{}", json!({ "token": token(user, "x") }));
        raw.write(&text(&connect)).await;
        let mut received = Vec::new();
        let is_connected = async {
            while !received.windows(4).any(|four| four == b"40{\"") {
                let read = raw.stream.read_buf(&mut received).await.unwrap();
                assert_ne!(read, 0, "the connection is closed");
            }
        };
        timeout(DEADLINE, is_connected)
            .await
            .expect("CONNECT is answered");
        raw
    }

    /// Writes bytes, as long as the gateway reads them. Returns whether it has read all.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        let writing = timeout(DEADLINE, self.stream.write_all(bytes));
        writing.await.expect("the gateway reads").is_ok()
    }

    /// Waits until the gateway closes the connection.
    pub(crate) async fn assert_closed_within(mut self, deadline: Duration) {
        let closed = timeout(deadline, read_to_end(&mut self.stream)).await;
        closed.expect("the gateway closes the connection");
    }
}

async fn read_to_end(stream: &mut TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

/// A text message as one masked frame. The mask is zero.
pub(crate) fn text(packet: &str) -> Vec<u8> {
    frame(0x81, packet.as_bytes())
}

/// A masked frame with this first byte: the opcode, and 0x80 if it ends its message.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend(payload);
    frame
}

/// The header of a masked frame that announces this many bytes.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..126 => header.push(0x80 | length as u8),
        126..0x1_0000 => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend([0; 4]);
    header
}
