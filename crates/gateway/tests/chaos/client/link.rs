//! A connection to the gateway over either transport.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::polling::Polling;
use crate::support::DEADLINE;

/// Bounded, so that backpressure from a reader that has stopped reaches the gateway soon.
/// Larger than a segment on the loopback interface (64 KiB): with a smaller window, the kernel
/// sends one window every 200 ms, however fast the client reads.
const RECEIVE_BUFFER: u32 = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Polling,
}

/// A connection that has entered the namespace. Packets are Engine.IO's, as text.
pub(crate) enum Link {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Polling(Polling),
}

impl Link {
    /// Connects to the namespace, or returns `None` if the gateway is unavailable. Returns the
    /// packets as well that arrived meanwhile and have to be handled.
    pub(crate) async fn open(
        address: SocketAddr,
        transport: Transport,
        token: &str,
    ) -> Option<(Self, Vec<String>)> {
        let connect = format!("40{}", json!({ "token": token }));
        let connecting = async {
            let mut link = match transport {
                Transport::WebSocket => Self::WebSocket(Box::new(websocket(address).await?)),
                Transport::Polling => Self::Polling(Polling::open(address).await?),
            };
            link.send(vec![connect]).await.then_some(())?;
            let mut arrived = Vec::new();
            loop {
                let mut is_connected = false;
                for packet in link.next().await? {
                    if packet.starts_with("44") {
                        assert!(packet.contains("unavailable"), "refused: {packet}");
                        return None;
                    }
                    match packet.starts_with("40") {
                        true => is_connected = true,
                        // Engine.IO's first packet describes the session.
                        false if packet.starts_with('0') => {}
                        false => arrived.push(packet),
                    }
                }
                if is_connected {
                    return Some((link, arrived));
                }
            }
        };
        timeout(DEADLINE, connecting).await.ok().flatten()
    }

    /// Returns the next packets, or `None` if the connection has ended. It can be dropped
    /// without losing a packet.
    pub(crate) async fn next(&mut self) -> Option<Vec<String>> {
        match self {
            Self::Polling(polling) => polling.next().await,
            Self::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Frame::Text(text))) => return Some(vec![text.as_str().to_owned()]),
                    Some(Ok(Frame::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            },
        }
    }

    /// Sends packets and returns whether the connection still exists.
    pub(crate) async fn send(&mut self, packets: Vec<String>) -> bool {
        if packets.is_empty() {
            return true;
        }
        let sending = async {
            match self {
                Self::Polling(polling) => polling.send(packets),
                Self::WebSocket(socket) => {
                    for packet in packets {
                        if socket.send(Frame::text(packet)).await.is_err() {
                            return false;
                        }
                    }
                    true
                }
            }
        };
        timeout(DEADLINE, sending)
            .await
            .expect("the gateway reads a packet before the deadline")
    }
}

async fn websocket(address: SocketAddr) -> Option<WebSocketStream<TcpStream>> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    let stream = socket.connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.ok()?;
    Some(socket)
}
