//! A client that survives everything, does what a good client does, and writes down what
//! it saw: it reconnects, joins with `afterSeq` where it stands, repeats what was not
//! acknowledged with the same `clientMessageId`, and pages through what it missed.
//!
//! It forgives the connection everything and the gateway nothing: a packet that the wire
//! contract does not know is a panic.

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

use crate::random::{below, one_in};
use crate::record::{Event, History, Message, Missed};
use crate::support::{DEADLINE, token};

/// Sends in flight of one client.
const WINDOW: usize = 8;
/// How often a client looks whether there is something to do.
const TICK: Duration = Duration::from_millis(10);
/// Before a refused event is repeated.
const BACKOFF: Duration = Duration::from_millis(50);
/// Small, so that the gateway soon notices a reader that has stopped.
const RECEIVE_BUFFER: u32 = 16 * 1024;

/// What a client does beside reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    /// Stops reading when it is told to. Marks what it has read.
    Reader,
    /// Joins and leaves again and again, not always with `afterSeq`.
    Visitor,
}

/// What all clients are told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Load,
    /// As `Load`, but readers do not read.
    ReadersPaused,
    /// Nothing new is sent: what was sent is brought to an end.
    Drain,
    Finish,
}

/// What the clients of a run have in common.
pub(crate) struct Crowd {
    pub(crate) address: SocketAddr,
    pub(crate) phase: watch::Sender<Phase>,
    /// Positive acknowledgements so far.
    pub(crate) acknowledged: AtomicU64,
    /// Negative ones.
    pub(crate) refused: AtomicU64,
    /// Characters of each message.
    pub(crate) length: usize,
}

/// Where a client stands, for the one who waits for the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Sends without an answer, rooms to join, pages to fetch.
    pub(crate) unsettled: usize,
    /// In each room, everything up to this was seen.
    pub(crate) seen: BTreeMap<u64, u64>,
}

pub(crate) struct Client {
    crowd: Arc<Crowd>,
    role: Role,
    token: String,
    rooms: BTreeMap<u64, Room>,
    /// Messages that are not settled; those that were sent before, first.
    outbox: VecDeque<Outgoing>,
    history: History,
    next_message: u64,
    next_attempt: u64,
    standing: Arc<Mutex<Standing>>,
    link: Link,
}

/// What ends with the connection.
#[derive(Default)]
struct Link {
    /// By the number of the acknowledgement.
    questions: HashMap<u64, Question>,
    next_question: u64,
    packets: Vec<String>,
}

enum Question {
    Send { attempt: u64, content: String },
    Join { room: u64 },
    List { room: u64, after: u64 },
    Other,
}

#[derive(Default)]
struct Room {
    membership: Membership,
    /// Everything up to this was seen.
    upto: u64,
    /// Seen beyond it.
    ahead: BTreeSet<u64>,
    /// Page until this is seen.
    missed_to: Option<u64>,
    paging: bool,
    marked: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Membership {
    /// To be joined at this time, at once if there is none.
    #[default]
    Out,
    OutUntil(Instant),
    Joining,
    In,
    /// To be left at this time.
    InUntil(Instant),
    Leaving,
}

struct Outgoing {
    room: u64,
    client_message_id: Option<String>,
    content: String,
    patience: Patience,
    /// The first attempt that was not refused.
    counts: Option<u64>,
    waiting: Waiting,
}

/// What a sender does about a refusal. (An attempt without an answer is always repeated,
/// if the message has an id.)
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
            standing: Arc::default(),
            link: Link::default(),
        }
    }

    pub(crate) fn standing(&self) -> Arc<Mutex<Standing>> {
        self.standing.clone()
    }

    /// Lives until the phase is `Finish`; what it saw.
    pub(crate) async fn live(mut self) -> History {
        let mut phase = self.crowd.phase.subscribe();
        while *phase.borrow_and_update() != Phase::Finish {
            self.tell_standing();
            if let Some(socket) = self.connect().await {
                self.history.events.push(Event::Connected);
                self.begin();
                self.converse(socket, &mut phase).await;
            }
            sleep(Duration::from_millis(20 + below(50))).await;
        }
        self.history
    }

    /// A connection in the namespace, unless the gateway is away.
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
            let hello = Frame::text(format!("40{}", json!({ "token": self.token })));
            socket.send(hello).await.ok()?;
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

    /// A new connection is in no room, and nothing on it was sent.
    fn begin(&mut self) {
        self.link = Link::default();
        for room in self.rooms.values_mut() {
            room.membership = Membership::Out;
            room.paging = false;
        }
        // Without an id, a repetition would be another message.
        self.outbox.retain(|message| {
            message.client_message_id.is_some() || !matches!(message.waiting, Waiting::ForAnswer(_))
        });
        for message in &mut self.outbox {
            message.waiting = Waiting::ToBeSent;
        }
        let order = |message: &Outgoing| message.counts.unwrap_or(u64::MAX);
        self.outbox.make_contiguous().sort_by_key(order);
    }

    async fn converse(
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
            let wanted = tokio::select! {
                frame = socket.next() => match frame {
                    Some(Ok(Frame::Text(text))) => self.take(text.as_str()),
                    Some(Ok(Frame::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => true,
                },
                _ = ticks.tick() => {
                    self.work(now);
                    true
                }
                _ = phase.changed() => true,
            };
            if !wanted {
                return;
            }
            for packet in std::mem::take(&mut self.link.packets) {
                let sent = timeout(DEADLINE, socket.send(Frame::text(packet))).await;
                if sent
                    .expect("the gateway takes a packet within ten seconds")
                    .is_err()
                {
                    return;
                }
            }
            self.tell_standing();
        }
    }

    fn tell_standing(&self) {
        let rooms = self.rooms.values().filter(|room| {
            !matches!(room.membership, Membership::In | Membership::InUntil(_))
                || room.missed_to.is_some()
        });
        *self.standing.lock().unwrap() = Standing {
            unsettled: self.outbox.len() + rooms.count(),
            seen: self
                .rooms
                .iter()
                .map(|(id, room)| (*id, room.upto))
                .collect(),
        };
    }

    fn ask(&mut self, event: &str, payload: &Value, question: Question) {
        let id = self.link.next_question;
        self.link.next_question += 1;
        self.link.questions.insert(id, question);
        let packet = format!("42{id}{}", json!([event, payload]));
        self.link.packets.push(packet);
    }

    /// Does what is due.
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
                if one_in(2) {
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
                    Role::Visitor if phase != Phase::Drain && one_in(2) => None,
                    _ => Some(room.upto),
                };
                room.membership = Membership::Joining;
                self.history.events.push(Event::Joining { room: id, after });
                let payload = match after {
                    Some(after) => json!({ "roomId": id, "afterSeq": after }),
                    None => json!({ "roomId": id }),
                };
                self.ask("joinRoom", &payload, Question::Join { room: id });
            }
            Membership::InUntil(time) if now >= time && phase != Phase::Drain => {
                room.membership = Membership::Leaving;
                self.ask("leaveRoom", &json!({ "roomId": id }), Question::Other);
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
            self.ask("listMessages", &payload, Question::List { room: id, after });
        } else if self.role == Role::Reader && after > room.marked + 20 {
            room.marked = after;
            let payload = json!({ "roomId": id, "seq": after });
            self.ask("markRead", &payload, Question::Other);
        }
    }

    /// A message that nobody has sent before.
    fn compose(&mut self) -> Outgoing {
        let number = self.next_message;
        self.next_message += 1;
        let rooms = self.rooms.keys();
        let room = *rooms
            .clone()
            .nth(below(rooms.len() as u64) as usize)
            .unwrap();
        // A user's ids are the user's, and this may not be the user's only connection.
        let name = format!("{}-{number}", self.history.client);
        Outgoing {
            room,
            // Four bytes each, which is the most that a character may take.
            content: format!("{name:🦀<0$}", self.crowd.length),
            client_message_id: (!one_in(10)).then_some(name),
            patience: if one_in(3) {
                Patience::GivesUp
            } else {
                Patience::Retries
            },
            counts: None,
            waiting: Waiting::ToBeSent,
        }
    }

    /// Sends what is to be sent, in its order.
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
            due.push((payload, Question::Send { attempt, content }));
        }
        for (payload, question) in due {
            self.ask("sendMessage", &payload, question);
        }
    }

    /// Takes a packet; whether the connection goes on.
    fn take(&mut self, packet: &str) -> bool {
        if packet == "2" {
            self.link.packets.push("3".to_owned());
        } else if let Some(event) = packet.strip_prefix("42") {
            let [name, payload]: [Value; 2] = serde_json::from_str(event).expect(event);
            self.take_event(name.as_str().unwrap(), &payload);
        } else if let Some(ack) = packet.strip_prefix("43") {
            let (id, answer) = ack.split_at(ack.find('[').unwrap());
            let [answer]: [Value; 1] = serde_json::from_str(answer).expect(ack);
            self.take_answer(id.parse().unwrap(), &answer);
        } else if packet == "1" || packet.starts_with("41") {
            return false;
        } else {
            panic!("an unexpected packet: {packet}");
        }
        true
    }

    fn take_event(&mut self, name: &str, payload: &Value) {
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
                let again = Instant::now() + Duration::from_millis(below(200));
                self.room(id).membership = Membership::OutUntil(again);
            }
            "markedRead" => self.history.events.push(Event::MarkedRead {
                room: room.unwrap(),
                user: payload["userId"].as_str().unwrap().to_owned(),
                seq: seq.unwrap(),
            }),
            // Its acknowledgement says the same.
            "error" => {}
            _ => panic!("an unexpected event: {name} {payload}"),
        }
    }

    fn room(&mut self, id: u64) -> &mut Room {
        self.rooms.get_mut(&id).expect("a room of this client")
    }

    /// Rooms of others are the checker's business.
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
        let stays = Instant::now() + Duration::from_millis(50 + below(300));
        let is_visitor = self.role == Role::Visitor;
        let room = self.room(id);
        room.membership = if is_visitor {
            Membership::InUntil(stays)
        } else {
            Membership::In
        };
        match missed {
            Some(missed) => room.missed_to = Some(missed.to),
            // Who joins without `afterSeq` wants nothing from before.
            None if seq > room.upto => {
                room.upto = seq;
                room.ahead.retain(|ahead| *ahead > seq);
            }
            None => {}
        }
    }

    fn take_answer(&mut self, id: u64, answer: &Value) {
        let question = self.link.questions.remove(&id).expect("one answer each");
        let ok = answer["ok"].as_bool().unwrap();
        match question {
            Question::Send { attempt, content } if ok => {
                self.crowd.acknowledged.fetch_add(1, Ordering::Relaxed);
                let message = message(&answer["message"]);
                self.history
                    .events
                    .push(Event::Acknowledged { attempt, message });
                self.outbox.retain(|message| message.content != content);
            }
            Question::Send { attempt, content } => {
                self.crowd.refused.fetch_add(1, Ordering::Relaxed);
                let error = &answer["error"];
                let code = error["code"].as_str().unwrap().to_owned();
                self.refused(&content, &code, error["retryable"] == true);
                self.history.events.push(Event::Refused { attempt, code });
            }
            Question::Join { room } if !ok => {
                self.history.events.push(Event::JoinRefused { room });
                self.room(room).membership = Membership::OutUntil(Instant::now() + BACKOFF);
            }
            Question::List { room: id, after } => {
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
            Question::Join { .. } | Question::Other => {}
        }
    }

    fn refused(&mut self, content: &str, code: &str, retryable: bool) {
        let place = self
            .outbox
            .iter()
            .position(|message| message.content == content)
            .unwrap();
        let mut message = self.outbox.remove(place).unwrap();
        // Unknown and without an id: a repetition might store it twice.
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
