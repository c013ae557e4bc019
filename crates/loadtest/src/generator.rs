//! All connections of a run, in one loop on one thread: what is cheap enough to share a
//! machine with the server that it measures.

mod asking;
mod entering;

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use chat_domain::BoxError;
use mio::event::Event;
use mio::{Events, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::{Client, State};
use crate::content::Stamp;
use crate::frames::{self, Frame, Kind};
use crate::ledger::{Delivery, Ledger};
use crate::packets::{self, Packet};
use crate::target::Target;
use crate::tokens::Tokens;

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// How many complaints of the server are repeated.
const MAX_COMPLAINTS: u32 = 3;

/// What follows when a message comes back to its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refill {
    /// The next one is sent.
    Next,
    Nothing,
}

/// A time on the load test's clock: nanoseconds since it began.
pub(crate) type Nanos = u64;

pub(crate) struct Generator {
    pub(crate) ledger: Ledger,
    pub(crate) refill: Refill,
    target: Target,
    tokens: Tokens,
    began: Instant,
    poll: Poll,
    clients: Vec<Client>,
    ready: usize,
    joined: usize,
    /// While connections are made, the first that failed ends the run.
    is_set_up: bool,
    /// The acknowledgement that came last, and when.
    answer: Option<(Nanos, Vec<u8>)>,
    failure: Option<String>,
    complaints: u32,
    // Used again and again, so that nothing is allocated for a frame.
    events: Option<Events>,
    inbox: Vec<u8>,
    packet: String,
    frame: Vec<u8>,
}

impl Generator {
    /// For the rooms 1 to `rooms`.
    ///
    /// # Errors
    /// What the machine refuses.
    pub(crate) fn new(target: Target, tokens: Tokens, rooms: usize) -> Result<Self, BoxError> {
        Ok(Self {
            ledger: Ledger::new(getrandom::u32()?, rooms),
            refill: Refill::Nothing,
            target,
            tokens,
            began: Instant::now(),
            poll: Poll::new()?,
            clients: Vec::new(),
            ready: 0,
            joined: 0,
            is_set_up: false,
            answer: None,
            failure: None,
            complaints: 0,
            events: Some(Events::with_capacity(256)),
            inbox: vec![0; READ_BYTES],
            packet: String::new(),
            frame: Vec::new(),
        })
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        nanos(self.began.elapsed())
    }

    /// From now on a connection that ends is counted, and the run goes on.
    pub(crate) fn set_up_is_done(&mut self) {
        self.is_set_up = true;
    }

    /// Sends a message, to the connection's rooms in turn; its latency counts from `due`.
    pub(crate) fn say(&mut self, n: usize, due: Nanos) {
        let client = &mut self.clients[n];
        if client.state != State::Joined {
            return;
        }
        let (rooms, before) = (client.rooms.len(), client.sent as usize);
        let room = client.rooms.start + before % rooms;
        client.sent += 1;
        let stamp = Stamp {
            due,
            sender: n as u32,
            number: (before / rooms + 1) as u32,
        };
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        // Writing to a string cannot fail.
        let _ = write!(
            packet,
            "42[\"sendMessage\",{{\"roomId\":{room},\"content\":\""
        );
        self.ledger.sending(room, stamp, &mut packet);
        packet.push_str("\"}]");
        self.packet = packet;
        self.send_packet(n);
    }

    /// Serves the connections once; waits for something to do until `until` at most.
    ///
    /// # Errors
    /// What the machine refuses.
    pub(crate) fn turn(&mut self, until: Nanos) -> io::Result<()> {
        // Taken out, because what happens needs all of the rest.
        let Some(mut events) = self.events.take() else {
            return Ok(());
        };
        let outcome = self.wait(&mut events, until);
        for event in &events {
            self.serve(event);
        }
        self.events = Some(events);
        outcome
    }

    /// Waiting in the selector is rounded up to milliseconds, and so would be when a
    /// message is sent.
    fn wait(&mut self, events: &mut Events, until: Nanos) -> io::Result<()> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        let left = Duration::from_nanos(until.saturating_sub(self.now()));
        let whole = Duration::from_millis(left.as_millis() as u64);
        let outcome = self.poll.poll(events, Some(whole));
        let outcome = if left < MILLISECOND && !left.is_zero() && events.is_empty() {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut selector = [PollFd::new(self.poll.registry(), PollFlags::IN)];
            poll(&mut selector, Some(&timeout))
                .map_err(io::Error::from)
                .and_then(|_| self.poll.poll(events, Some(Duration::ZERO)))
        } else {
            outcome
        };
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            outcome => outcome,
        }
    }

    #[inline]
    fn serve(&mut self, event: &Event) {
        let Token(n) = event.token();
        match self.clients[n].state {
            State::Closed => return,
            State::Connecting => {
                if let Ok(Some(error)) | Err(error) = self.clients[n].socket.take_error() {
                    let address = self.target.address;
                    return self.close(n, &format!("{address} cannot be reached: {error}"));
                }
                if event.is_writable() {
                    self.clients[n].state = State::Upgrading;
                    self.ask_for_websocket(n);
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

    fn ask_for_websocket(&mut self, n: usize) {
        let request = self.target.upgrade();
        if let Err(error) = self.clients[n].write(request.as_bytes()) {
            self.close(n, &error.to_string());
        }
    }

    /// Sends the packet that was prepared.
    fn send_packet(&mut self, n: usize) {
        self.frame.clear();
        frames::write(&mut self.frame, Kind::Text, self.packet.as_bytes());
        if let Err(error) = self.clients[n].write(&self.frame) {
            self.close(n, &error.to_string());
        }
    }

    fn receive(&mut self, n: usize, is_ending: bool) {
        let mut inbox = std::mem::take(&mut self.inbox);
        while self.clients[n].state != State::Closed {
            match self.clients[n].read(&mut inbox) {
                Ok(Some(0)) => self.close(n, "the server closed the connection"),
                Ok(Some(count)) => {
                    self.take_in(n, &inbox[..count]);
                    // Less than there is space for is all there is.
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
    fn take_in(&mut self, n: usize, bytes: &[u8]) {
        let now = self.now();
        let outcome = if self.clients[n].received.is_empty() {
            self.consume(n, bytes, now).map(|used| {
                self.clients[n].received.extend_from_slice(&bytes[used..]);
            })
        } else {
            let mut received = std::mem::take(&mut self.clients[n].received);
            received.extend_from_slice(bytes);
            self.consume(n, &received, now).map(|used| {
                received.drain(..used);
                self.clients[n].received = received;
            })
        };
        if let Err(why) = outcome {
            self.close(n, &why);
        }
    }

    /// Does what the received bytes say; how many of them are done with.
    fn consume(&mut self, n: usize, bytes: &[u8], now: Nanos) -> Result<usize, String> {
        let mut used = 0;
        if self.clients[n].state == State::Upgrading {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
                return match bytes.len() {
                    0..8192 => Ok(0),
                    _ => Err("the server answers with something that is not HTTP".to_owned()),
                };
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                let status = String::from_utf8_lossy(bytes);
                let status = status.lines().next().unwrap_or_default();
                return Err(format!("the server refuses WebSockets: {status}"));
            }
            self.clients[n].state = State::Opening;
            used = end + 4;
        }
        while let Some((frame, length)) =
            frames::read(&bytes[used..]).map_err(|what| format!("the server sent {what}"))?
        {
            match frame {
                Frame::Text(text) => self.act(n, text, now)?,
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
    fn act(&mut self, n: usize, text: &[u8], now: Nanos) -> Result<(), String> {
        let client = &mut self.clients[n];
        match packets::read(text) {
            Packet::Message(text) => {
                let view = match &mut client.views[..] {
                    [view] => Some(view),
                    views => {
                        let room = self.ledger.room(text);
                        let turn = room.and_then(|room| room.checked_sub(client.rooms.start));
                        turn.and_then(|turn| views.get_mut(turn))
                    }
                };
                let view = view.ok_or("the server sent a message of a room not joined")?;
                let delivery = self.ledger.delivered(n as u32, view, text, now);
                if delivery == Delivery::Own && self.refill == Refill::Next {
                    self.say(n, now);
                }
            }
            Packet::Ping => self.send_text(n, "3"),
            Packet::Opened if client.state == State::Opening => {
                client.state = State::Entering;
                let token = self.tokens.token(n)?;
                self.send_text(n, &format!("40{{\"token\":\"Bearer {token}\"}}"));
            }
            Packet::Connected if client.state == State::Entering => {
                client.state = State::Ready;
                self.ready += 1;
            }
            Packet::Refused(text) => {
                let reason = packets::reason(text);
                return Err(match client.state {
                    State::Opening | State::Entering => {
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
                    self.join_next(n);
                }
            }
            Packet::Answer(text) => self.answer = Some((now, text.to_vec())),
            Packet::Error(text) if client.state == State::Joined => {
                // Whichever room it was: all of a connection's have as many members.
                self.ledger.refused(client.rooms.start);
                self.complain(&format!("refused: {}", packets::reason(text)));
                if self.refill == Refill::Next {
                    self.say(n, now);
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

    fn send_text(&mut self, n: usize, text: &str) {
        self.packet.clear();
        self.packet.push_str(text);
        self.send_packet(n);
    }

    fn close(&mut self, n: usize, why: &str) {
        let client = &mut self.clients[n];
        if client.state == State::Joined {
            client.rooms.clone().for_each(|room| self.ledger.left(room));
        }
        client.state = State::Closed;
        client.received = Vec::new();
        // It may be gone already.
        let _ = self.poll.registry().deregister(&mut client.socket);
        let _ = client.socket.shutdown(std::net::Shutdown::Both);
        if self.is_set_up {
            self.ledger.counts.lost += 1;
            self.complain(&format!("connection {} was lost: {why}", n + 1));
        } else {
            self.failure.get_or_insert_with(|| why.to_owned());
        }
    }

    fn complain(&mut self, text: &str) {
        self.complaints += 1;
        if self.complaints <= MAX_COMPLAINTS {
            eprintln!("loadtest: {text}");
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
