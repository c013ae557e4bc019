//! Socket.IO clients over both transports, which can also send what a correct client never
//! sends.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::{DEADLINE, contract};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The name and the payload of an event.
pub(crate) type Event = (String, Value);

/// A client over a WebSocket.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    events: VecDeque<Event>,
    acks: HashMap<u64, Value>,
    next_ack: u64,
    /// The names of the events whose acknowledgements are expected.
    asked: HashMap<u64, String>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The TCP connection is closed.
    Closed,
}

impl Client {
    /// Opens a WebSocket and reads Engine.IO's first packet, without connecting to the
    /// namespace.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        Self::open_with(&url, &[]).await.unwrap()
    }

    /// Opens a WebSocket with additional headers.
    pub(crate) async fn open_with(
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, String> {
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        // Its default would be 128 KiB, which thousands of clients allocate and free.
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let connecting = connect_async_with_config(request, Some(config), true);
        let connected = timeout(DEADLINE, connecting).await.unwrap();
        let (socket, _) = connected.map_err(|error| error.to_string())?;
        Ok(Self::over(socket).await)
    }

    async fn over(socket: Socket) -> Self {
        let mut client = Self {
            socket,
            events: VecDeque::new(),
            acks: HashMap::new(),
            next_ack: 0,
            asked: HashMap::new(),
        };
        let open = client.packet().await.unwrap();
        assert!(open.starts_with('0'), "{open}");
        client
    }

    /// Connects as this token's user.
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> Self {
        let mut client = Self::open(address).await;
        client.enter(token).await;
        client
    }

    /// Connects as this token's user over a TCP connection that the test has opened.
    pub(crate) async fn connect_through(
        stream: TcpStream,
        address: SocketAddr,
        token: &str,
    ) -> Self {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let stream = MaybeTlsStream::Plain(stream);
        let opening = timeout(DEADLINE, tokio_tungstenite::client_async(url, stream));
        let (socket, _) = opening.await.unwrap().unwrap();
        let mut client = Self::over(socket).await;
        client.enter(token).await;
        client
    }

    /// Connects to the namespace.
    pub(crate) async fn enter(&mut self, token: &str) {
        self.send_packet(&format!("40{}", json!({ "token": token })))
            .await;
        let answer = self.packet().await.unwrap();
        assert!(answer.starts_with("40{"), "{answer}");
    }

    /// Sends a packet unchanged.
    pub(crate) async fn send_packet(&mut self, packet: &str) {
        let sending = timeout(DEADLINE, self.socket.send(Message::text(packet)));
        sending
            .await
            .expect("the gateway reads before the deadline")
            .unwrap();
    }

    /// Waits for the next packet that is not a heartbeat, or for the end of the connection.
    pub(crate) async fn packet(&mut self) -> Result<String, Ended> {
        self.packet_within(DEADLINE).await
    }

    /// The same with another deadline, which begins anew with each heartbeat.
    pub(crate) async fn packet_within(&mut self, deadline: Duration) -> Result<String, Ended> {
        loop {
            let next = timeout(deadline, self.socket.next())
                .await
                .expect("a packet arrives before the deadline");
            match next {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => {
                    // The next read reports whether the connection is closed.
                    self.socket.send(Message::text("3")).await.ok();
                }
                Some(Ok(Message::Text(text))) => {
                    self.check(text.as_str());
                    return Ok(text.as_str().to_owned());
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Ended::Closed),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Checks that the packet is as the contract describes it.
    fn check(&mut self, packet: &str) {
        if let Some((name, payload)) = event_of(packet) {
            contract::check_event(&name, &payload);
        } else if let Some((id, answer)) = ack_of(packet)
            && let Some(event) = self.asked.remove(&id)
        {
            contract::check_ack(&event, &answer);
        }
    }

    /// Sends an event without requesting an acknowledgement.
    pub(crate) async fn emit(&mut self, event: &str, payload: &Value) {
        self.send_packet(&format!("42{}", json!([event, payload])))
            .await;
    }

    /// Sends an event's JSON array unchanged and requests an acknowledgement.
    pub(crate) async fn emit_raw(&mut self, array: &str) -> u64 {
        let id = self.next_ack;
        self.next_ack += 1;
        let event = serde_json::from_str::<Value>(array);
        if let Some(name) = event.as_ref().ok().and_then(|event| event[0].as_str()) {
            self.asked.insert(id, name.to_owned());
        }
        self.send_packet(&format!("42{id}{array}")).await;
        id
    }

    /// Sends an event and requests an acknowledgement without waiting for it.
    pub(crate) async fn start(&mut self, event: &str, payload: &Value) -> u64 {
        self.emit_raw(&json!([event, payload]).to_string()).await
    }

    /// Waits for an acknowledgement.
    pub(crate) async fn ack(&mut self, id: u64) -> Value {
        loop {
            if let Some(answer) = self.acks.remove(&id) {
                return answer;
            }
            self.read()
                .await
                .expect("the acknowledgement arrives before the connection ends");
        }
    }

    /// Sends an event and waits for its acknowledgement.
    pub(crate) async fn call(&mut self, event: &str, payload: &Value) -> Value {
        let id = self.start(event, payload).await;
        self.ack(id).await
    }

    /// Joins a room and returns its resume point.
    pub(crate) async fn join(&mut self, room: u64) -> u64 {
        let joined = self.call("joinRoom", &json!({ "roomId": room })).await;
        assert_eq!(joined["ok"], true, "{joined}");
        joined["seq"].as_u64().unwrap()
    }

    /// Sends a message and waits until it is stored.
    pub(crate) async fn send(&mut self, room: u64, content: &str) -> Value {
        self.call(
            "sendMessage",
            &json!({ "roomId": room, "content": content }),
        )
        .await
    }

    /// Waits for the next event of any name.
    pub(crate) async fn any_event(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.read()
                .await
                .expect("an event arrives before the connection ends");
        }
    }

    /// Waits for the next event of this name and discards the events before it.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        loop {
            let (event, payload) = self.any_event().await;
            if event == name {
                return payload;
            }
        }
    }

    /// Returns the events that have been read but not returned yet.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// Reads one packet and keeps its event or acknowledgement.
    async fn read(&mut self) -> Result<(), Ended> {
        let packet = self.packet().await?;
        if let Some(event) = event_of(&packet) {
            self.events.push_back(event);
        } else if let Some((id, answer)) = ack_of(&packet) {
            self.acks.insert(id, answer);
        } else {
            panic!("an unexpected packet: {packet}");
        }
        Ok(())
    }

    /// Returns the packets that arrive until the connection is closed, which must happen
    /// within this time.
    pub(crate) async fn read_to_end(&mut self, within: Duration) -> Vec<String> {
        let mut packets = Vec::new();
        let reading = async {
            while let Ok(packet) = self.packet().await {
                packets.push(packet);
            }
        };
        timeout(within, reading)
            .await
            .expect("the transport is closed before the deadline");
        packets
    }
}

/// Returns the event that a packet carries, if it carries one.
pub(crate) fn event_of(packet: &str) -> Option<Event> {
    let event = packet.strip_prefix("42")?;
    let (name, payload): (String, Value) = serde_json::from_str(event).expect(event);
    Some((name, payload))
}

/// Returns the acknowledgement that a packet carries, with its id, if it carries one.
fn ack_of(packet: &str) -> Option<(u64, Value)> {
    let ack = packet.strip_prefix("43")?;
    let (id, answer) = ack.split_at(ack.find('[')?);
    let [answer]: [Value; 1] = serde_json::from_str(answer).expect(ack);
    Some((id.parse().unwrap(), answer))
}

/// Sends an HTTP request on a new connection and returns the status and the whole response.
pub(crate) async fn http(address: SocketAddr, request: &str) -> (u16, String) {
    try_http(address, request).await.unwrap()
}

async fn try_http(address: SocketAddr, request: &str) -> io::Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok(response)
    };
    let response: io::Result<String> = timeout(DEADLINE, exchange)
        .await
        .expect("a response arrives before the deadline");
    let response = response?;
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.unwrap_or(0), response))
}

/// Sends a GET request and returns the status and the whole response.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    try_get(address, path).await.unwrap()
}

async fn try_get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    try_http(address, &request).await
}

/// Engine.IO's packet "ping".
const HEARTBEAT: &str = "2";

/// A long-polling session, whose requests the test sends one by one.
pub(crate) struct Polling {
    pub(crate) address: SocketAddr,
    pub(crate) sid: String,
}

impl Polling {
    /// Opens a session without connecting to the namespace.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let mut polling = Self {
            address,
            sid: String::new(),
        };
        let (status, body) = polling.get().await;
        assert_eq!(status, 200, "{body}");
        let open: Value = serde_json::from_str(&body[1..]).unwrap();
        polling.sid = open["sid"].as_str().unwrap().to_owned();
        polling
    }

    /// Connects as this token's user.
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> Self {
        let polling = Self::open(address).await;
        let packet = format!("40{}", json!({ "token": token }));
        assert_eq!(polling.post(&packet).await.0, 200);
        let packets = polling.packets().await;
        assert!(packets[0].starts_with("40{"), "{packets:?}");
        polling
    }

    fn path(&self) -> String {
        let sid = match self.sid.as_str() {
            "" => String::new(),
            sid => format!("&sid={sid}"),
        };
        format!("/socket.io/?EIO=4&transport=polling{sid}")
    }

    /// Polls once and returns the status and the body, in which packets are separated by
    /// U+001E.
    pub(crate) async fn get(&self) -> (u16, String) {
        body_of(get(self.address, &self.path()).await)
    }

    /// Polls until the answer is more than a heartbeat, and returns it. The first heartbeat
    /// comes at once, beside the first packets or on its own.
    pub(crate) async fn get_past_heartbeats(&self) -> (u16, String) {
        loop {
            let answer = self.get().await;
            if answer.1 != HEARTBEAT {
                return answer;
            }
        }
    }

    /// Polls until there are packets that are not heartbeats, and returns these.
    pub(crate) async fn packets(&self) -> Vec<String> {
        let (status, body) = self.get_past_heartbeats().await;
        assert_eq!(status, 200, "{body}");
        let packets = body.split('\u{1e}').filter(|packet| *packet != HEARTBEAT);
        packets.map(str::to_owned).collect()
    }

    /// Polls until there are packets that are not heartbeats, and returns their events.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let packets = self.packets().await;
        let events: Vec<Event> = packets
            .iter()
            .filter_map(|packet| event_of(packet))
            .collect();
        for (name, payload) in &events {
            contract::check_event(name, payload);
        }
        events
    }

    /// Polls until the session has ended: with an error status, or because the gateway no
    /// longer accepts connections.
    pub(crate) async fn poll_to_end(&self) {
        while matches!(try_get(self.address, &self.path()).await, Ok((200, _))) {}
    }

    /// Sends packets and returns the status and the body.
    pub(crate) async fn post(&self, packets: &str) -> (u16, String) {
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{packets}",
            self.path(),
            packets.len()
        );
        body_of(http(self.address, &request).await)
    }
}

fn body_of((status, response): (u16, String)) -> (u16, String) {
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}
