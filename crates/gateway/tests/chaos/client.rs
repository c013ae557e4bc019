//! A correct client that records what it observes. It reconnects, to any of the nodes, joins with
//! `afterSeq` set to the newest message that it has seen, repeats unacknowledged messages with
//! the same `clientMessageId`, and pages through the messages that it missed.
//!
//! It tolerates every failure of the connection, but panics on a packet that the wire contract
//! does not define.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::random::Random;
use crate::record::{Entry, Event, History, Operation};
use crate::support::{DEADLINE, token};

pub(crate) use self::crowd::{Crowd, Phase, Progress};
use self::editing::Editing;
use self::keeping::Keeping;
pub(crate) use self::link::{Link, Transport};
use self::membership::{Membership, Room};
use self::sending::Outgoing;

mod crowd;
mod editing;
mod keeping;
mod link;
mod membership;
mod polling;
mod receiving;
mod sending;

/// How often a client checks whether a request is due.
const TICK: Duration = Duration::from_millis(10);
/// How long a client waits before it repeats a refused event.
pub(crate) const BACKOFF: Duration = Duration::from_millis(50);

/// What a client does in addition to reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    /// Marks every message as read.
    Reader,
    /// Joins, joins again and leaves repeatedly, not always with `afterSeq`.
    Visitor,
    /// Changes the rules of its rooms without pause, as an owner.
    Owner,
    /// The same as a moderator.
    Moderator,
    /// Writes in a room of its own kind, and edits, deletes and reacts there.
    Editor,
    /// Writes in rooms with rules, whether it may or not, and joins again whenever it may.
    Guest,
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

pub(crate) struct Client {
    crowd: Arc<Crowd>,
    profile: Profile,
    /// The node to which the client belongs while all of them work.
    home: usize,
    /// The node to which it connects, or is connected.
    node: usize,
    is_connected: bool,
    token: String,
    rooms: BTreeMap<u64, Room>,
    /// Messages that are not settled: first those that were sent before, then new ones.
    outbox: VecDeque<Outgoing>,
    entries: Vec<Entry>,
    next_message: u64,
    next_attempt: u64,
    keeping: Keeping,
    editing: Editing,
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
    /// Since when a request has been unanswered and nothing has arrived.
    waiting_since: Option<Instant>,
}

enum Request {
    Send {
        attempt: u64,
        room: u64,
        content: String,
    },
    Join {
        room: u64,
    },
    Leave {
        room: u64,
    },
    List {
        room: u64,
        after: u64,
    },
    Mark {
        room: u64,
        seq: u64,
    },
    Change {
        change: u64,
        event: &'static str,
    },
    Look {
        room: u64,
        event: &'static str,
    },
    Edit {
        event: &'static str,
    },
    ListChanges {
        after: u64,
    },
}

impl Request {
    fn operation(&self) -> Operation {
        match *self {
            Self::Send { attempt, .. } => Operation::Send { attempt },
            Self::Join { room } => Operation::Join { room },
            Self::Leave { room } => Operation::Leave { room },
            Self::List { room, .. } => Operation::List { room },
            Self::Mark { room, .. } => Operation::Mark { room },
            Self::Change { change, event } => Operation::Change { change, event },
            Self::Look { room, event } => Operation::Look { room, event },
            Self::Edit { event } => Operation::Edit { event },
            Self::ListChanges { .. } => Operation::Edit {
                event: "listChanges",
            },
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    ByGateway,
    GaveUp,
    Moved,
    /// The phase is `Finish`.
    Finished,
}

/// Returns the display name of a user, which is not the user's id.
pub(crate) fn display_name(user: &str) -> String {
    format!("The user {user}")
}

impl Client {
    pub(crate) fn new(profile: Profile, home: usize, random: Random, crowd: Arc<Crowd>) -> Self {
        let rooms = profile.rooms.iter().map(|room| (*room, Room::default()));
        Self {
            crowd,
            profile,
            home,
            node: home,
            is_connected: false,
            token: token(profile.user, &display_name(profile.user)),
            rooms: rooms.collect(),
            outbox: VecDeque::new(),
            entries: Vec::new(),
            next_message: 0,
            next_attempt: 0,
            keeping: Keeping::default(),
            editing: Editing::default(),
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
            let node = self.node;
            self.record(Event::Connecting { node });
            let address = self.crowd.nodes[node];
            let opening = Link::open(address, self.profile.transport, &self.token);
            let patience = self.crowd.patience.unwrap_or(DEADLINE);
            let end = match timeout(patience, opening).await {
                Ok(Some((link, arrived))) => {
                    self.record(Event::Connected);
                    self.begin();
                    self.is_connected = true;
                    // Among them is the first heartbeat.
                    match arrived.iter().all(|packet| self.handle(packet)) {
                        true => self.exchange(link, &mut phase).await,
                        false => End::ByGateway,
                    }
                }
                Err(_) if self.crowd.patience.is_some() => End::GaveUp,
                Ok(None) | Err(_) => {
                    self.record(Event::NotConnected);
                    End::Finished
                }
            };
            self.is_connected = false;
            match end {
                End::ByGateway => self.record(Event::Disconnected),
                End::GaveUp => self.record(Event::GaveUp),
                End::Moved => self.record(Event::Moved),
                End::Finished => {}
            }
            // Like a client behind a load balancer: any node, possibly the same one again.
            self.node = match *self.crowd.go_home.borrow() {
                true => self.home,
                false => self.random.below(self.crowd.nodes.len() as u64) as usize,
            };
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
        self.keeping.begin();
        self.editing.begin();
        for room in self.rooms.values_mut() {
            room.begin();
        }
        self.repeat_unanswered();
    }

    /// Sends what is due and handles what arrives, until the connection ends or the phase is
    /// `Finish`.
    async fn exchange(&mut self, mut link: Link, phase: &mut watch::Receiver<Phase>) -> End {
        let mut paused = self.crowd.paused.subscribe();
        let mut go_home = self.crowd.go_home.subscribe();
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
                    self.pending.waiting_since = None;
                }
                _ = ticks.tick() => self.work(now),
                _ = phase.changed() => {}
                _ = paused.changed() => {}
                _ = go_home.changed() => {}
            }
            if self.node != self.home && *go_home.borrow_and_update() {
                return End::Moved;
            }
            if self.has_waited_in_vain() {
                return End::GaveUp;
            }
            let sending = link.send(std::mem::take(&mut self.pending.packets));
            let Ok(is_sent) = timeout(self.crowd.patience.unwrap_or(Duration::MAX), sending).await
            else {
                return End::GaveUp;
            };
            if !is_sent {
                // What the gateway sent before it closed the connection still arrives.
                while let Some(packets) = link.next().await {
                    packets.iter().all(|packet| self.handle(packet));
                }
                return End::ByGateway;
            }
            self.publish_progress();
        }
    }

    /// Returns whether nothing has arrived for as long as the client waits for an answer.
    fn has_waited_in_vain(&mut self) -> bool {
        if self.pending.requests.is_empty() {
            self.pending.waiting_since = None;
            return false;
        }
        let since = *self.pending.waiting_since.get_or_insert(Instant::now());
        let patience = self.crowd.patience;
        patience.is_some_and(|patience| since.elapsed() > patience)
    }

    fn publish_progress(&self) {
        let unsettled = self.rooms.values().filter(|room| !room.is_settled());
        *self.progress.lock().unwrap() = Progress {
            is_home: self.is_connected && self.node == self.home,
            unsettled: self.outbox.len() + unsettled.count() + self.editing.unsettled(),
            rev: self.is_editor().then(|| self.editing.rev()),
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
        let is_calm = self.crowd.is_calm.load(Ordering::Relaxed);
        if phase != Phase::Drain && (!is_calm || self.random.one_in(10)) {
            match self.profile.role {
                Role::Sender => self.compose_some(),
                Role::Owner | Role::Moderator | Role::Guest | Role::Editor => {
                    self.compose_sparingly();
                }
                Role::Reader | Role::Visitor => {}
            }
        }
        if matches!(self.profile.role, Role::Owner | Role::Moderator) {
            self.keep(phase, now);
        }
        if self.is_editor() {
            self.edit(phase, now);
        }
        self.send_due(now);
    }
}
