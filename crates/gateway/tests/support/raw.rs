//! Engine.IO, one request and one packet at a time, heartbeats included. What the official
//! test suites do to a server can be written with this.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};

use super::client::Socket;

/// Longer than the 25 seconds between two heartbeats.
const DEADLINE: Duration = Duration::from_secs(40);

/// A server's Engine.IO endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint(pub(crate) SocketAddr);

impl Endpoint {
    /// Sends a request and returns the status and the body.
    pub(crate) async fn request(self, method: &str, query: &str, body: &str) -> (u16, String) {
        let mut stream = self.start_request(method, query, body).await;
        let mut response = String::new();
        let reading = stream.read_to_string(&mut response);
        timeout(DEADLINE, reading).await.unwrap().unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    /// Sends a request and returns the connection on which its response will arrive.
    pub(crate) async fn start_request(self, method: &str, query: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        let request = format!(
            "{method} /socket.io/?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Opens a session over long-polling.
    pub(crate) async fn open_polling(self) -> PollingSession {
        let (status, open) = self.request("GET", "EIO=4&transport=polling", "").await;
        assert_eq!(status, 200, "{open}");
        let endpoint = self;
        let open = open_packet(&open);
        let sid = open["sid"].as_str().unwrap().to_owned();
        PollingSession { endpoint, sid }
    }

    /// Opens a WebSocket, or returns the status of the refusal.
    pub(crate) async fn websocket(self, query: &str) -> Result<RawSocket, u16> {
        let url = format!("ws://{}/socket.io/?{query}", self.0);
        let connecting = tokio_tungstenite::connect_async(url);
        match timeout(DEADLINE, connecting).await.unwrap() {
            Ok((socket, _)) => Ok(RawSocket(socket)),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// Opens a WebSocket and reads the first packet.
    pub(crate) async fn open_websocket(self) -> RawSocket {
        let query = "EIO=4&transport=websocket";
        let mut socket = self.websocket(query).await.unwrap();
        open_packet(&socket.next().await.unwrap());
        socket
    }
}

/// Returns what Engine.IO's first packet says.
pub(crate) fn open_packet(packet: &str) -> Value {
    let open = packet.strip_prefix('0').expect(packet);
    serde_json::from_str(open).unwrap()
}

/// A long-polling session.
pub(crate) struct PollingSession {
    endpoint: Endpoint,
    sid: String,
}

impl PollingSession {
    fn query(&self) -> String {
        format!("EIO=4&transport=polling&sid={}", self.sid)
    }

    pub(crate) async fn poll(&self) -> (u16, String) {
        self.endpoint.request("GET", &self.query(), "").await
    }

    /// Polls until something other than a heartbeat arrives, without answering heartbeats.
    pub(crate) async fn poll_past_heartbeats(&self) -> (u16, String) {
        loop {
            let answer = self.poll().await;
            if answer != (200, "2".to_owned()) {
                return answer;
            }
        }
    }

    /// Sends a poll and returns the connection on which its response will arrive.
    pub(crate) async fn start_poll(&self) -> TcpStream {
        self.endpoint.start_request("GET", &self.query(), "").await
    }

    pub(crate) async fn post(&self, body: &str) -> (u16, String) {
        self.endpoint.request("POST", &self.query(), body).await
    }

    /// Opens a WebSocket for this session, or returns the status of the refusal.
    pub(crate) async fn websocket(&self) -> Result<RawSocket, u16> {
        let query = format!("EIO=4&transport=websocket&sid={}", self.sid);
        self.endpoint.websocket(&query).await
    }
}

/// A WebSocket whose packets the test reads and writes, heartbeats included.
pub(crate) struct RawSocket(Socket);

impl RawSocket {
    pub(crate) async fn send(&mut self, packet: &str) {
        self.0.send(Message::text(packet)).await.unwrap();
    }

    pub(crate) async fn send_binary(&mut self, packet: &[u8]) {
        self.0.send(Message::binary(packet.to_vec())).await.unwrap();
    }

    /// Waits for the next packet; returns `None` when the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<String> {
        match timeout(DEADLINE, self.0.next()).await.unwrap() {
            Some(Ok(Message::Text(packet))) => Some(packet.as_str().to_owned()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => None,
            Some(Ok(other)) => panic!("not a text: {other:?}"),
        }
    }

    /// Waits for the next packet that is not a heartbeat, without answering heartbeats.
    pub(crate) async fn next_past_heartbeats(&mut self) -> Option<String> {
        loop {
            let packet = self.next().await;
            if packet.as_deref() != Some("2") {
                return packet;
            }
        }
    }

    /// Waits until the server has closed the connection. Before that, nothing may come but
    /// heartbeats and a packet that announces it.
    pub(crate) async fn closed(&mut self) {
        let mut last = self.next_past_heartbeats().await;
        if last.as_deref() == Some("1") {
            last = self.next_past_heartbeats().await;
        }
        assert_eq!(last, None);
    }
}
