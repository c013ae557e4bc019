//! A correct client that records what it observes. It reconnects, joins with `afterSeq` set to
//! the newest message that it has seen, repeats unacknowledged messages with the same
//! `clientMessageId`, and pages through the messages that it missed.
//!
//! It tolerates every failure of the connection, but panics on a packet that the wire contract
//! does not define.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::random::Random;
use crate::record::{Entry, Event, History, Operation};
use crate::support::token;

use self::link::Link;
pub(crate) use self::link::Transport;
use self::membership::{Membership, Room};
use self::sending::{Outgoing, SharedMessage};

mod link;
mod membership;
mod polling;
mod receiving;
mod sending;

/// How often a client checks whether a request is due.
const TICK: Duration = Duration::from_millis(10);
/// How long a client waits before it repeats a refused event.
const BACKOFF: Duration = Duration::from_millis(50);

/// What a client does in addition to reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    /// Marks every message as read.
    Reader,
    /// Joins, joins again and leaves repeatedly, not always with `afterSeq`.
    Visitor,
}

/// The identity of a client, and what it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    /// Several clients may be connections of one user.
    pub(crate) user: &'static str,
    pub(crate) role: Role,
    pub(crate) transport: Transport,
    pub(crate) rooms: &'static [u64],
}

/// What all clients do at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Load,
    /// Clients send no new messages, and complete what they have begun.
    Drain,
    Finish,
}

/// State that the clients of a test share.
pub(crate) struct Crowd {
    pub(crate) address: SocketAddr,
    pub(crate) began: Instant,
    pub(crate) phase: watch::Sender<Phase>,
    /// The names of the clients that do not read.
    pub(crate) paused: watch::Sender<Vec<&'static str>>,
    /// The number of positive acknowledgements so far.
    pub(crate) acknowledged: AtomicU64,
    /// The number of sends that were refused so far.
    pub(crate) refused: AtomicU64,
    /// Notifies of new counts above and of new `Progress`.
    pub(crate) progressed: watch::Sender<()>,
    /// The length of each message in characters.
    pub(crate) length: usize,
    /// Messages that one connection of a user has sent, to be sent by another one as well.
    pub(crate) shared: Mutex<Vec<SharedMessage>>,
}

impl Crowd {
    pub(crate) fn new(address: SocketAddr, length: usize) -> Self {
        Self {
            address,
            began: Instant::now(),
            phase: watch::Sender::new(Phase::Load),
            paused: watch::Sender::default(),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            progressed: watch::Sender::new(()),
            length,
            shared: Mutex::default(),
        }
    }
}

/// How far a client has got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The number of unanswered sends, rooms to join and pages to fetch.
    pub(crate) unsettled: usize,
    /// For each room, the newest message that the client has seen.
    pub(crate) seen: BTreeMap<u64, u64>,
}

pub(crate) struct Client {
    crowd: Arc<Crowd>,
    profile: Profile,
    token: String,
    rooms: BTreeMap<u64, Room>,
    /// Messages that are not settled: first those that were sent before, then new ones.
    outbox: VecDeque<Outgoing>,
    entries: Vec<Entry>,
    next_message: u64,
    next_attempt: u64,
    random: Random,
    progress: Arc<Mutex<Progress>>,
    pending: Pending,
}

/// State that ends with the connection.
#[derive(Default)]
struct Pending {
    /// Unanswered requests by the number of their acknowledgement.
    requests: HashMap<u64, Request>,
    next_request: u64,
    /// Packets to be sent.
    packets: Vec<String>,
}

enum Request {
    Send { attempt: u64, content: String },
    Join { room: u64 },
    Leave { room: u64 },
    List { room: u64, after: u64 },
    Mark { room: u64, seq: u64 },
}

impl Request {
    fn operation(&self) -> Operation {
        match *self {
            Self::Send { attempt, .. } => Operation::Send { attempt },
            Self::Join { room } => Operation::Join { room },
            Self::Leave { room } => Operation::Leave { room },
            Self::List { room, .. } => Operation::List { room },
            Self::Mark { room, .. } => Operation::Mark { room },
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    ByGateway,
    /// The phase is `Finish`.
    Finished,
}

/// Returns the display name of a user, which is not the user's id.
pub(crate) fn display_name(user: &str) -> String {
    format!("The user {user}")
}

impl Client {
    pub(crate) fn new(profile: Profile, random: Random, crowd: Arc<Crowd>) -> Self {
        let rooms = profile.rooms.iter().map(|room| (*room, Room::default()));
        Self {
            crowd,
            profile,
            token: token(profile.user, &display_name(profile.user)),
            rooms: rooms.collect(),
            outbox: VecDeque::new(),
            entries: Vec::new(),
            next_message: 0,
            next_attempt: 0,
            random,
            progress: Arc::default(),
            pending: Pending::default(),
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
            let transport = self.profile.transport;
            match Link::open(self.crowd.address, transport, &self.token).await {
                Some((link, arrived)) => {
                    self.record(Event::Connected);
                    self.begin();
                    // Among them is the first heartbeat.
                    let is_open = arrived.iter().all(|packet| self.handle(packet));
                    if !is_open || self.exchange(link, &mut phase).await == End::ByGateway {
                        self.record(Event::Disconnected);
                    }
                }
                None => self.record(Event::NotConnected),
            }
            // Like the standard client, it does not reconnect immediately.
            let pause = 20 + self.random.below(50);
            sleep(Duration::from_millis(pause)).await;
        }
        History {
            client: self.profile.name.to_owned(),
            user: self.profile.user.to_owned(),
            entries: self.entries,
        }
    }

    fn record(&mut self, event: Event) {
        let at = self.crowd.began.elapsed();
        self.entries.push(Entry { at, event });
    }

    /// Prepares for a new connection, which has joined no room and sent no message.
    fn begin(&mut self) {
        self.pending = Pending::default();
        for room in self.rooms.values_mut() {
            room.begin();
        }
        self.repeat_unanswered();
    }

    /// Sends what is due and handles what arrives, until the connection ends or the phase is
    /// `Finish`.
    async fn exchange(&mut self, mut link: Link, phase: &mut watch::Receiver<Phase>) -> End {
        let mut paused = self.crowd.paused.subscribe();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Finish {
                return End::Finished;
            }
            if paused.borrow_and_update().contains(&self.profile.name) {
                paused.changed().await.ok();
                continue;
            }
            tokio::select! {
                packets = link.next() => {
                    let Some(packets) = packets else {
                        return End::ByGateway;
                    };
                    for packet in packets {
                        if !self.handle(&packet) {
                            return End::ByGateway;
                        }
                    }
                }
                _ = ticks.tick() => self.work(now),
                _ = phase.changed() => {}
                _ = paused.changed() => {}
            }
            if !link.send(std::mem::take(&mut self.pending.packets)).await {
                // What the gateway sent before it closed the connection still arrives.
                while let Some(packets) = link.next().await {
                    packets.iter().all(|packet| self.handle(packet));
                }
                return End::ByGateway;
            }
            self.publish_progress();
        }
    }

    fn publish_progress(&self) {
        let unsettled = self.rooms.values().filter(|room| !room.is_settled());
        *self.progress.lock().unwrap() = Progress {
            unsettled: self.outbox.len() + unsettled.count(),
            seen: self
                .rooms
                .iter()
                .map(|(id, room)| (*id, room.newest_seen()))
                .collect(),
        };
        self.crowd.progressed.send_replace(());
    }

    fn request(&mut self, payload: &Value, request: Request) {
        let id = self.pending.next_request;
        self.pending.next_request += 1;
        let event = request.operation().event();
        self.pending.requests.insert(id, request);
        let packet = format!("42{id}{}", json!([event, payload]));
        self.pending.packets.push(packet);
    }

    /// Makes every request that is due.
    fn work(&mut self, phase: Phase) {
        let now = Instant::now();
        let ids: Vec<u64> = self.rooms.keys().copied().collect();
        for id in ids {
            self.work_in(id, phase, now);
        }
        if self.profile.role == Role::Sender && phase != Phase::Drain {
            self.compose_some();
        }
        self.send_due(now);
    }
}
