//! All connections of a run, in one event loop on one thread: cheap enough to share a host
//! with the server that it measures.

mod request;
mod setup;

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use chat_domain::BoxError;
use mio::event::Event;
use mio::{Events, Token};
use serde::Serialize;

use crate::client::{Client, State};
use crate::frames::{self, Frame, Kind};
use crate::ledger::{Apart, Audit, Delivery, Ledger};
use crate::packets::{self, ErrorEvent, Packet};
use crate::selector::Selector;
use crate::target::Target;
use crate::tokens::Tokens;

/// The size of the buffer for one read, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// How many of the server's errors are printed.
const MAX_PRINTED_ERRORS: u32 = 3;

/// What causes the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LoopMode {
    /// The arrival of the sender's previous one: a slow server is sent less.
    Closed,
    /// A schedule, whatever the server does.
    Open,
}

/// A time on the load test's clock: nanoseconds since it started.
pub(crate) type Nanos = u64;

pub(crate) struct Generator {
    pub(crate) ledger: Ledger,
    pub(crate) mode: LoopMode,
    pub(crate) target: Target,
    tokens: Tokens,
    started: Instant,
    selector: Selector,
    clients: Vec<Client>,
    ready: usize,
    joined: usize,
    /// Until then, the first connection that fails ends the run.
    is_set_up: bool,
    failure: Option<String>,
    /// The latest acknowledgement, and when it arrived.
    acknowledgement: Option<(Nanos, Vec<u8>)>,
    printed_errors: u32,
    // Reused, so that a frame needs no allocation.
    events: Option<Events>,
    inbox: Vec<u8>,
    packet: String,
    frame: Vec<u8>,
}

impl Generator {
    /// A generator without connections, for the rooms 1 to `rooms`.
    ///
    /// # Errors
    /// The kernel provides no random number or no selector.
    pub(crate) fn new(target: Target, tokens: Tokens, rooms: usize) -> Result<Self, BoxError> {
        Ok(Self {
            ledger: Ledger::new(getrandom::u32()?, rooms),
            mode: LoopMode::Open,
            target,
            tokens,
            started: Instant::now(),
            selector: Selector::new()?,
            clients: Vec::new(),
            ready: 0,
            joined: 0,
            is_set_up: false,
            failure: None,
            acknowledgement: None,
            printed_errors: 0,
            events: Some(Events::with_capacity(256)),
            inbox: vec![0; READ_BYTES],
            packet: String::new(),
            frame: Vec::new(),
        })
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        nanos(self.started.elapsed())
    }

    /// Compares what each connection received with what it must have received.
    pub(crate) fn audit(&self) -> Audit {
        let views = self.clients.iter().flat_map(|client| {
            let rooms = client.rooms.clone();
            rooms.zip(&client.views)
        });
        self.ledger.audit(views)
    }

    /// From now on, deliveries on the sender's node are measured apart from the others.
    pub(crate) fn tell_nodes_apart(&mut self) {
        let connections = 0..self.clients.len();
        let nodes = connections.map(|n| self.target.node_number(n)).collect();
        self.ledger.apart = Some(Apart::new(nodes));
    }

    /// From now on, a lost connection is counted and does not end the run.
    pub(crate) fn set_up_is_done(&mut self) {
        self.is_set_up = true;
    }

    /// Sends a message to the next of the connection's rooms. Its latency counts from
    /// `due`.
    pub(crate) fn send_message(&mut self, n: usize, due: Nanos) {
        let client = &mut self.clients[n];
        if client.state != State::Joined {
            return;
        }
        let room = client.rooms.start + client.sent % client.rooms.len();
        client.sent += 1;
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        // Writing to a string cannot fail.
        let _ = write!(
            packet,
            "42[\"sendMessage\",{{\"roomId\":{room},\"content\":\""
        );
        self.ledger.sending(room, n as u32, due, &mut packet);
        packet.push_str("\"}]");
        self.packet = packet;
        self.send_packet(n);
    }

    /// Handles the pending events of all connections, after waiting for one until `until`
    /// at most.
    ///
    /// # Errors
    /// The selector failed.
    pub(crate) fn run_once(&mut self, until: Nanos) -> io::Result<()> {
        // Taken out because handling an event borrows all of `self`.
        let Some(mut events) = self.events.take() else {
            return Ok(());
        };
        let timeout = Duration::from_nanos(until.saturating_sub(self.now()));
        let outcome = self.selector.wait(&mut events, timeout);
        for event in &events {
            self.handle_event(event);
        }
        self.events = Some(events);
        outcome
    }

    #[inline]
    fn handle_event(&mut self, event: &Event) {
        let Token(n) = event.token();
        match self.clients[n].state {
            State::Closed => return,
            State::Connecting => {
                if let Ok(Some(error)) | Err(error) = self.clients[n].socket.take_error() {
                    let address = self.target.node(n).address;
                    return self.close(n, &format!("{address} cannot be reached: {error}"));
                }
                if event.is_writable() {
                    self.clients[n].state = State::Upgrading;
                    self.request_upgrade(n);
                }
            }
            _ if event.is_writable() => {
                if let Err(error) = self.clients[n].flush() {
                    return self.close(n, &error.to_string());
                }
            }
            _ => {}
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.receive(n, event.is_read_closed());
        }
    }

    fn request_upgrade(&mut self, n: usize) {
        let request = self.target.node(n).upgrade();
        if let Err(error) = self.clients[n].write(request.as_bytes()) {
            self.close(n, &error.to_string());
        }
    }

    /// Sends `self.packet`.
    fn send_packet(&mut self, n: usize) {
        self.frame.clear();
        frames::write(&mut self.frame, Kind::Text, self.packet.as_bytes());
        if let Err(error) = self.clients[n].write(&self.frame) {
            self.close(n, &error.to_string());
        }
    }

    fn send_text(&mut self, n: usize, text: &str) {
        self.packet.clear();
        self.packet.push_str(text);
        self.send_packet(n);
    }

    /// Joins the next of the connection's rooms.
    fn join_next_room(&mut self, n: usize) {
        let client = &self.clients[n];
        let room = client.rooms.start + client.views.len();
        self.send_text(n, &format!("42[\"joinRoom\",{{\"roomId\":{room}}}]"));
    }

    fn receive(&mut self, n: usize, is_ending: bool) {
        let mut inbox = std::mem::take(&mut self.inbox);
        while self.clients[n].state != State::Closed {
            match self.clients[n].read(&mut inbox) {
                Ok(Some(0)) => self.close(n, "the server closed the connection"),
                Ok(Some(count)) => {
                    self.handle_bytes(n, &inbox[..count]);
                    // A read that does not fill the buffer has emptied the socket.
                    if count < inbox.len() && !is_ending {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => self.close(n, &error.to_string()),
            }
        }
        self.inbox = inbox;
    }

    #[inline]
    fn handle_bytes(&mut self, n: usize, bytes: &[u8]) {
        let now = self.now();
        let outcome = if self.clients[n].received.is_empty() {
            self.handle_frames(n, bytes, now).map(|used| {
                self.clients[n].received.extend_from_slice(&bytes[used..]);
            })
        } else {
            let mut received = std::mem::take(&mut self.clients[n].received);
            received.extend_from_slice(bytes);
            self.handle_frames(n, &received, now).map(|used| {
                received.drain(..used);
                self.clients[n].received = received;
            })
        };
        if let Err(reason) = outcome {
            self.close(n, &reason);
        }
    }

    /// Handles the complete frames and returns their length in bytes.
    fn handle_frames(&mut self, n: usize, bytes: &[u8], now: Nanos) -> Result<usize, String> {
        let mut used = 0;
        if self.clients[n].state == State::Upgrading {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
                return match bytes.len() {
                    0..8192 => Ok(0),
                    _ => Err("the server's response is not HTTP".to_owned()),
                };
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                let status = String::from_utf8_lossy(bytes);
                let status = status.lines().next().unwrap_or_default();
                return Err(format!(
                    "the server refused the WebSocket upgrade: {status}"
                ));
            }
            self.clients[n].state = State::Opening;
            used = end + 4;
        }
        while let Some((frame, length)) =
            frames::read(&bytes[used..]).map_err(|what| format!("the server sent {what}"))?
        {
            match frame {
                Frame::Text(text) => self.handle_packet(n, text, now)?,
                Frame::Ping(payload) => {
                    self.frame.clear();
                    frames::write(&mut self.frame, Kind::Pong, payload);
                    let written = self.clients[n].write(&self.frame);
                    written.map_err(|error| error.to_string())?;
                }
                Frame::Close => return Err("the server closed the connection".to_owned()),
                Frame::Other => {}
            }
            used += length;
        }
        Ok(used)
    }

    #[inline]
    fn handle_packet(&mut self, n: usize, text: &[u8], now: Nanos) -> Result<(), String> {
        let client = &mut self.clients[n];
        match packets::read(text) {
            Packet::Message(text) => {
                let (first, views) = (client.rooms.start, &mut client.views[..]);
                let delivery = self.ledger.delivered(n as u32, first, views, text, now);
                if delivery == Delivery::Own && self.mode == LoopMode::Closed {
                    self.send_message(n, now);
                }
            }
            Packet::Ping => self.send_text(n, "3"),
            Packet::Opened if client.state == State::Opening => {
                client.state = State::Authenticating;
                let token = self.tokens.token(n)?;
                self.send_text(n, &format!("40{{\"token\":\"Bearer {token}\"}}"));
            }
            Packet::Connected if client.state == State::Authenticating => {
                client.state = State::Ready;
                self.ready += 1;
            }
            Packet::Refused(text) => {
                let reason = packets::reason(text);
                return Err(match client.state {
                    State::Opening | State::Authenticating => {
                        format!("the server refused the token of user {}: {reason}", n + 1)
                    }
                    _ => format!("the server disconnected user {}: {reason}", n + 1),
                });
            }
            Packet::Joined(text) if client.state == State::Joining => {
                let room = client.rooms.start + client.views.len();
                client.views.push(self.ledger.joined(room, text));
                if client.views.len() == client.rooms.len() {
                    client.state = State::Joined;
                    self.joined += 1;
                } else {
                    self.join_next_room(n);
                }
            }
            Packet::Acknowledgement(text) => self.acknowledgement = Some((now, text.to_vec())),
            Packet::Error(text) if client.state == State::Joined => {
                let error = ErrorEvent::parse(text);
                self.ledger.refused(n as u32, client.rooms.clone(), &error);
                self.print_error(&format!("refused: {}", error.message));
                if self.mode == LoopMode::Closed {
                    self.send_message(n, now);
                }
            }
            Packet::Error(text) => {
                let reason = packets::reason(text);
                return Err(format!("the server refused user {}: {reason}", n + 1));
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, n: usize, reason: &str) {
        let client = &mut self.clients[n];
        for (room, view) in client.rooms.clone().zip(&mut client.views) {
            self.ledger.left(n as u32, room, view);
        }
        client.state = State::Closed;
        client.received = Vec::new();
        // Both fail if the peer has closed the connection already.
        let _ = self.selector.deregister(&mut client.socket);
        let _ = client.socket.shutdown(std::net::Shutdown::Both);
        if self.is_set_up {
            self.ledger.counts.lost += 1;
            self.print_error(&format!("connection {} was lost: {reason}", n + 1));
        } else {
            self.failure.get_or_insert_with(|| reason.to_owned());
        }
    }

    fn print_error(&mut self, text: &str) {
        self.printed_errors += 1;
        if self.printed_errors <= MAX_PRINTED_ERRORS {
            eprintln!("loadtest: {text}");
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
