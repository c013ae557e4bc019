//! A correct client that records what it observes. It reconnects, joins with `afterSeq` set to
//! the newest message that it has seen, repeats unacknowledged messages with the same
//! `clientMessageId`, and pages through the messages that it missed.
//!
//! It tolerates every failure of the connection, but panics on a packet that the wire contract
//! does not define.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::random::Random;
use crate::record::{Event, History, Message, Missed};
use crate::support::{DEADLINE, token};

/// The largest number of sends in progress per client.
const WINDOW: usize = 8;
/// How often a client checks whether a request is due.
const TICK: Duration = Duration::from_millis(10);
/// How long a client waits before it repeats a refused event.
const BACKOFF: Duration = Duration::from_millis(50);
/// Small, so that backpressure from a reader that has stopped reaches the gateway soon.
const RECEIVE_BUFFER: u32 = 16 * 1024;

/// What a client does in addition to reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    /// Marks messages as read, and stops reading in the phase `ReadersPaused`.
    Reader,
    /// Joins and leaves repeatedly, not always with `afterSeq`.
    Visitor,
}

/// What all clients do at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Load,
    /// Like `Load`, but readers do not read.
    ReadersPaused,
    /// Clients send no new messages, and complete what they have begun.
    Drain,
    Finish,
}

/// State that the clients of a test share.
pub(crate) struct Crowd {
    pub(crate) address: SocketAddr,
    pub(crate) phase: watch::Sender<Phase>,
    /// The number of positive acknowledgements so far.
    pub(crate) acknowledged: AtomicU64,
    /// The number of negative acknowledgements so far.
    pub(crate) refused: AtomicU64,
    /// Notifies of new counts above and of new `Progress`.
    pub(crate) progressed: watch::Sender<()>,
    /// The length of each message in characters.
    pub(crate) length: usize,
}

/// How far a client has got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The number of unanswered sends, rooms to join and pages to fetch.
    pub(crate) unsettled: usize,
    /// For each room, the number up to which the client has seen every message.
    pub(crate) seen: BTreeMap<u64, u64>,
}

pub(crate) struct Client {
    crowd: Arc<Crowd>,
    role: Role,
    token: String,
    rooms: BTreeMap<u64, Room>,
    /// Messages that are not settled: first those that were sent before, then new ones.
    outbox: VecDeque<Outgoing>,
    history: History,
    next_message: u64,
    next_attempt: u64,
    random: Random,
    progress: Arc<Mutex<Progress>>,
    link: Link,
}

/// State that ends with the connection.
#[derive(Default)]
struct Link {
    /// Unanswered requests by the number of their acknowledgement.
    requests: HashMap<u64, Request>,
    next_request: u64,
    packets: Vec<String>,
}

enum Request {
    Send { attempt: u64, content: String },
    Join { room: u64 },
    List { room: u64, after: u64 },
    Other,
}

#[derive(Default)]
struct Room {
    membership: Membership,
    /// The client has seen every message up to this one.
    upto: u64,
    /// The messages beyond it that the client has seen.
    ahead: BTreeSet<u64>,
    /// The client pages until it has seen this message.
    missed_to: Option<u64>,
    paging: bool,
    marked: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Membership {
    #[default]
    Out,
    /// The client joins at this time.
    OutUntil(Instant),
    Joining,
    In,
    /// The client leaves at this time.
    InUntil(Instant),
    Leaving,
}

struct Outgoing {
    room: u64,
    client_message_id: Option<String>,
    content: String,
    patience: Patience,
    /// The first attempt that was not refused, which determines the message's order.
    counts: Option<u64>,
    waiting: Waiting,
}

/// How a sender reacts to a refusal. (It always repeats an attempt without an answer if the
/// message has an id.)
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Retries,
    GivesUp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    ToBeSent,
    Until(Instant),
    ForAnswer(u64),
}

impl Client {
    pub(crate) fn new(
        name: &str,
        user: &str,
        role: Role,
        rooms: &[u64],
        random: Random,
        crowd: Arc<Crowd>,
    ) -> Self {
        Self {
            crowd,
            role,
            token: token(user, user),
            rooms: rooms.iter().map(|room| (*room, Room::default())).collect(),
            outbox: VecDeque::new(),
            history: History {
                client: name.to_owned(),
                user: user.to_owned(),
                events: Vec::new(),
            },
            next_message: 0,
            next_attempt: 0,
            random,
            progress: Arc::default(),
            link: Link::default(),
        }
    }

    pub(crate) fn progress(&self) -> Arc<Mutex<Progress>> {
        self.progress.clone()
    }

    /// Runs until the phase is `Finish` and returns what the client observed.
    pub(crate) async fn run(mut self) -> History {
        let mut phase = self.crowd.phase.subscribe();
        while *phase.borrow_and_update() != Phase::Finish {
            self.publish_progress();
            if let Some(socket) = self.connect().await {
                self.history.events.push(Event::Connected);
                self.begin();
                self.exchange(socket, &mut phase).await;
            }
            // Like the standard client, it does not reconnect immediately.
            sleep(Duration::from_millis(20 + self.random.below(50))).await;
        }
        self.history
    }

    /// Connects to the namespace, or returns `None` if the gateway is unavailable.
    async fn connect(&self) -> Option<WebSocketStream<TcpStream>> {
        let connecting = async {
            let socket = TcpSocket::new_v4().unwrap();
            if self.role == Role::Reader {
                socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
            }
            let stream = socket.connect(self.crowd.address).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let url = format!(
                "ws://{}/socket.io/?EIO=4&transport=websocket",
                self.crowd.address
            );
            let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.ok()?;
            let connect = Frame::text(format!("40{}", json!({ "token": self.token })));
            socket.send(connect).await.ok()?;
            loop {
                match socket.next().await? {
                    Ok(Frame::Text(text)) if text.starts_with("40") => return Some(socket),
                    Ok(Frame::Text(text)) if text.starts_with("44") => {
                        assert!(text.contains("unavailable"), "refused: {text}");
                        return None;
                    }
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        timeout(DEADLINE, connecting).await.ok().flatten()
    }

    /// Prepares for a new connection, which has joined no room and sent no message.
    fn begin(&mut self) {
        self.link = Link::default();
        for room in self.rooms.values_mut() {
            room.membership = Membership::Out;
            room.paging = false;
        }
        // Without an id, a retry would be another message.
        self.outbox.retain(|message| {
            message.client_message_id.is_some() || !matches!(message.waiting, Waiting::ForAnswer(_))
        });
        for message in &mut self.outbox {
            message.waiting = Waiting::ToBeSent;
        }
        let order = |message: &Outgoing| message.counts.unwrap_or(u64::MAX);
        self.outbox.make_contiguous().sort_by_key(order);
    }

    /// Sends what is due and handles what arrives, until the connection ends or the phase is
    /// `Finish`.
    async fn exchange(
        &mut self,
        mut socket: WebSocketStream<TcpStream>,
        phase: &mut watch::Receiver<Phase>,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = *phase.borrow_and_update();
            match now {
                Phase::Finish => return,
                Phase::ReadersPaused if self.role == Role::Reader => {
                    phase.changed().await.ok();
                    continue;
                }
                _ => {}
            }
            let goes_on = tokio::select! {
                frame = socket.next() => match frame {
                    Some(Ok(Frame::Text(text))) => self.handle(text.as_str()),
                    Some(Ok(Frame::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => true,
                },
                _ = ticks.tick() => {
                    self.work(now);
                    true
                }
                _ = phase.changed() => true,
            };
            if !goes_on {
                return;
            }
            for packet in std::mem::take(&mut self.link.packets) {
                let sent = timeout(DEADLINE, socket.send(Frame::text(packet))).await;
                if sent
                    .expect("the gateway reads a packet before the deadline")
                    .is_err()
                {
                    return;
                }
            }
            self.publish_progress();
        }
    }

    fn publish_progress(&self) {
        let rooms = self.rooms.values().filter(|room| {
            !matches!(room.membership, Membership::In | Membership::InUntil(_))
                || room.missed_to.is_some()
        });
        *self.progress.lock().unwrap() = Progress {
            unsettled: self.outbox.len() + rooms.count(),
            seen: self
                .rooms
                .iter()
                .map(|(id, room)| (*id, room.upto))
                .collect(),
        };
        self.crowd.progressed.send_replace(());
    }

    fn request(&mut self, event: &str, payload: &Value, request: Request) {
        let id = self.link.next_request;
        self.link.next_request += 1;
        self.link.requests.insert(id, request);
        let packet = format!("42{id}{}", json!([event, payload]));
        self.link.packets.push(packet);
    }

    /// Makes every request that is due.
    fn work(&mut self, phase: Phase) {
        let now = Instant::now();
        let ids: Vec<u64> = self.rooms.keys().copied().collect();
        for id in ids {
            self.work_in(id, phase, now);
        }
        if self.role == Role::Sender && phase != Phase::Drain {
            while self.outbox.len() < WINDOW {
                let message = self.compose();
                self.outbox.push_back(message);
                if self.random.one_in(2) {
                    break;
                }
            }
        }
        self.send_due(now);
    }

    fn work_in(&mut self, id: u64, phase: Phase, now: Instant) {
        let room = self.rooms.get_mut(&id).unwrap();
        let membership = room.membership;
        match membership {
            Membership::OutUntil(time) if now < time && phase != Phase::Drain => {}
            Membership::Out | Membership::OutUntil(_) => {
                let after = match self.role {
                    Role::Visitor if phase != Phase::Drain && self.random.one_in(2) => None,
                    _ => Some(room.upto),
                };
                room.membership = Membership::Joining;
                self.history.events.push(Event::Joining { room: id, after });
                let payload = match after {
                    Some(after) => json!({ "roomId": id, "afterSeq": after }),
                    None => json!({ "roomId": id }),
                };
                self.request("joinRoom", &payload, Request::Join { room: id });
            }
            Membership::InUntil(time) if now >= time && phase != Phase::Drain => {
                room.membership = Membership::Leaving;
                self.request("leaveRoom", &json!({ "roomId": id }), Request::Other);
            }
            Membership::In | Membership::InUntil(_) => self.page_or_mark(id),
            Membership::Joining | Membership::Leaving => {}
        }
    }

    fn page_or_mark(&mut self, id: u64) {
        let room = self.rooms.get_mut(&id).unwrap();
        let after = room.upto;
        if room.missed_to.is_some_and(|to| to <= after) {
            room.missed_to = None;
        }
        if room.missed_to.is_some() && !room.paging {
            room.paging = true;
            let payload = json!({ "roomId": id, "afterSeq": after, "limit": 200 });
            self.request("listMessages", &payload, Request::List { room: id, after });
        } else if self.role == Role::Reader && after > room.marked + 20 {
            room.marked = after;
            let payload = json!({ "roomId": id, "seq": after });
            self.request("markRead", &payload, Request::Other);
        }
    }

    /// Creates a new message.
    fn compose(&mut self) -> Outgoing {
        let number = self.next_message;
        self.next_message += 1;
        let place = self.random.below(self.rooms.len() as u64);
        let room = *self.rooms.keys().nth(place as usize).unwrap();
        // Ids are unique per user, and the user may have other connections.
        let name = format!("{}-{number}", self.history.client);
        Outgoing {
            room,
            // Each of these characters has four bytes, the maximum.
            content: format!("{name:🦀<0$}", self.crowd.length),
            client_message_id: (!self.random.one_in(10)).then_some(name),
            patience: if self.random.one_in(3) {
                Patience::GivesUp
            } else {
                Patience::Retries
            },
            counts: None,
            waiting: Waiting::ToBeSent,
        }
    }

    /// Sends the messages that are due, in their order.
    fn send_due(&mut self, now: Instant) {
        let mut due = Vec::new();
        for message in &mut self.outbox {
            let is_due = match message.waiting {
                Waiting::ToBeSent => true,
                Waiting::Until(time) => now >= time,
                Waiting::ForAnswer(_) => false,
            };
            if !is_due || self.rooms[&message.room].membership != Membership::In {
                continue;
            }
            let attempt = self.next_attempt;
            self.next_attempt += 1;
            message.waiting = Waiting::ForAnswer(attempt);
            message.counts.get_or_insert(attempt);
            self.history.events.push(Event::Sent {
                attempt,
                room: message.room,
                client_message_id: message.client_message_id.clone(),
                content: message.content.clone(),
            });
            let mut payload = json!({ "roomId": message.room, "content": message.content });
            if let Some(id) = &message.client_message_id {
                payload["clientMessageId"] = json!(id);
            }
            let content = message.content.clone();
            due.push((payload, Request::Send { attempt, content }));
        }
        for (payload, request) in due {
            self.request("sendMessage", &payload, request);
        }
    }

    /// Handles a packet and returns whether the connection continues.
    fn handle(&mut self, packet: &str) -> bool {
        if packet == "2" {
            self.link.packets.push("3".to_owned());
        } else if let Some(event) = packet.strip_prefix("42") {
            let [name, payload]: [Value; 2] = serde_json::from_str(event).expect(event);
            self.handle_event(name.as_str().unwrap(), &payload);
        } else if let Some(ack) = packet.strip_prefix("43") {
            let (id, answer) = ack.split_at(ack.find('[').unwrap());
            let [answer]: [Value; 1] = serde_json::from_str(answer).expect(ack);
            self.handle_answer(id.parse().unwrap(), &answer);
        } else if packet == "1" || packet.starts_with("41") {
            return false;
        } else {
            panic!("an unexpected packet: {packet}");
        }
        true
    }

    fn handle_event(&mut self, name: &str, payload: &Value) {
        let room = payload["roomId"].as_u64();
        let seq = payload["seq"].as_u64();
        match name {
            "newMessage" => {
                let message = message(payload);
                self.saw(message.room, message.seq);
                self.history.events.push(Event::Received(message));
            }
            "joinedRoom" => {
                let missed = payload.get("missed").map(|missed| Missed {
                    from: missed["from"].as_u64().unwrap(),
                    to: missed["to"].as_u64().unwrap(),
                });
                self.joined(room.unwrap(), seq.unwrap(), missed);
            }
            "leftRoom" => {
                let id = room.unwrap();
                self.history.events.push(Event::Left { room: id });
                let again = Instant::now() + Duration::from_millis(self.random.below(200));
                self.room(id).membership = Membership::OutUntil(again);
            }
            "markedRead" => self.history.events.push(Event::MarkedRead {
                room: room.unwrap(),
                user: payload["userId"].as_str().unwrap().to_owned(),
                seq: seq.unwrap(),
            }),
            // The acknowledgement contains the same error.
            "error" => {}
            _ => panic!("an unexpected event: {name} {payload}"),
        }
    }

    fn room(&mut self, id: u64) -> &mut Room {
        self.rooms.get_mut(&id).expect("a room of this client")
    }

    /// Notes that a message was seen. (The checker detects messages of other rooms.)
    fn saw(&mut self, room: u64, seq: u64) {
        if let Some(room) = self.rooms.get_mut(&room)
            && seq > room.upto
        {
            room.ahead.insert(seq);
            while room.ahead.remove(&(room.upto + 1)) {
                room.upto += 1;
            }
        }
    }

    fn joined(&mut self, id: u64, seq: u64, missed: Option<Missed>) {
        self.history.events.push(Event::Joined {
            room: id,
            seq,
            missed,
        });
        let stays = Instant::now() + Duration::from_millis(50 + self.random.below(300));
        let is_visitor = self.role == Role::Visitor;
        let room = self.room(id);
        room.membership = if is_visitor {
            Membership::InUntil(stays)
        } else {
            Membership::In
        };
        match missed {
            Some(missed) => room.missed_to = Some(missed.to),
            // A client that joins without `afterSeq` does not want earlier messages.
            None if seq > room.upto => {
                room.upto = seq;
                room.ahead.retain(|ahead| *ahead > seq);
            }
            None => {}
        }
    }

    fn handle_answer(&mut self, id: u64, answer: &Value) {
        let request = self
            .link
            .requests
            .remove(&id)
            .expect("each request is answered once");
        let ok = answer["ok"].as_bool().unwrap();
        match request {
            Request::Send { attempt, content } if ok => {
                self.crowd.acknowledged.fetch_add(1, Ordering::Relaxed);
                let message = message(&answer["message"]);
                self.history
                    .events
                    .push(Event::Acknowledged { attempt, message });
                self.outbox.retain(|message| message.content != content);
            }
            Request::Send { attempt, content } => {
                self.crowd.refused.fetch_add(1, Ordering::Relaxed);
                let error = &answer["error"];
                let code = error["code"].as_str().unwrap().to_owned();
                self.refused(&content, &code, error["retryable"] == true);
                self.history.events.push(Event::Refused { attempt, code });
            }
            Request::Join { room } if !ok => {
                self.history.events.push(Event::JoinRefused { room });
                self.room(room).membership = Membership::OutUntil(Instant::now() + BACKOFF);
            }
            Request::List { room: id, after } => {
                self.room(id).paging = false;
                if !ok {
                    return;
                }
                let messages = answer["messages"].as_array().unwrap();
                let messages: Vec<_> = messages.iter().map(message).collect();
                for message in &messages {
                    self.saw(id, message.seq);
                }
                self.history.events.push(Event::Listed {
                    room: id,
                    after,
                    messages,
                });
            }
            Request::Join { .. } | Request::Other => {}
        }
    }

    fn refused(&mut self, content: &str, code: &str, retryable: bool) {
        let place = self
            .outbox
            .iter()
            .position(|message| message.content == content)
            .unwrap();
        let mut message = self.outbox.remove(place).unwrap();
        // Without an id, a retry after an unknown outcome might store the message twice.
        let may_repeat = code != "outcome_unknown" || message.client_message_id.is_some();
        if retryable && may_repeat && message.patience == Patience::Retries {
            message.waiting = Waiting::Until(Instant::now() + BACKOFF);
            message.counts = None;
            self.outbox.push_back(message);
        }
    }
}

fn message(value: &Value) -> Message {
    let number = |name: &str| {
        value[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} in {value}"))
    };
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Message {
        id: number("id"),
        room: number("roomId"),
        seq: number("seq"),
        user: text("userId").expect("the author"),
        client_message_id: text("clientMessageId"),
        content: text("content").expect("the content"),
    }
}
