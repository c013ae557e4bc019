//! What the clients of a test share, and how far each has got.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::sending::SharedMessage;
use crate::stage::Setup;

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
    /// The address of each node.
    pub(crate) nodes: Vec<SocketAddr>,
    /// How long a client waits for an answer before it connects to another node; forever if
    /// `None`.
    pub(crate) patience: Option<Duration>,
    /// How long a client waits before it repeats a refused message.
    pub(crate) backoff: Duration,
    /// Whether clients send only now and then.
    pub(crate) is_calm: AtomicBool,
    /// Whether each client moves to its home.
    pub(crate) go_home: watch::Sender<bool>,
    pub(crate) began: Instant,
    pub(crate) phase: watch::Sender<Phase>,
    /// The names of the clients that do not read.
    pub(crate) paused: watch::Sender<Vec<&'static str>>,
    /// The number of positive acknowledgements so far, by node, in rooms without rules.
    pub(crate) acknowledged: Vec<AtomicU64>,
    /// The number of sends that were refused so far in rooms without rules.
    pub(crate) refused: AtomicU64,
    /// The number of times that a client was excluded from a room so far.
    pub(crate) exclusions: AtomicU64,
    /// The number of changes of rules that were acknowledged so far.
    pub(crate) changes: AtomicU64,
    /// Notifies of new counts above and of new `Progress`.
    pub(crate) progressed: watch::Sender<()>,
    /// The length of each message in characters.
    pub(crate) length: usize,
    /// Messages that one connection of a user has sent, to be sent by another one as well.
    pub(crate) shared: Mutex<Vec<SharedMessage>>,
}

impl Crowd {
    pub(crate) fn new(nodes: Vec<SocketAddr>, setup: Setup) -> Self {
        Self {
            patience: setup.patience,
            backoff: setup.backoff,
            is_calm: AtomicBool::new(false),
            go_home: watch::Sender::new(false),
            acknowledged: nodes.iter().map(|_| AtomicU64::new(0)).collect(),
            nodes,
            began: Instant::now(),
            phase: watch::Sender::new(Phase::Load),
            paused: watch::Sender::default(),
            refused: AtomicU64::new(0),
            exclusions: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            progressed: watch::Sender::new(()),
            length: setup.length,
            shared: Mutex::default(),
        }
    }

    /// Returns the number of positive acknowledgements so far, by all nodes.
    pub(crate) fn acknowledged_in_all(&self) -> u64 {
        let by_node = self.acknowledged.iter();
        by_node.map(|node| node.load(Ordering::Relaxed)).sum()
    }
}

/// How far a client has got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Whether the client is connected to its home.
    pub(crate) is_home: bool,
    /// The number of unanswered sends, rooms to join and pages to fetch.
    pub(crate) unsettled: usize,
    /// The last change of a message that the client has, if it uses a room in which they change.
    pub(crate) rev: Option<u64>,
    /// For each room, the newest message that the client has seen.
    pub(crate) seen: BTreeMap<u64, u64>,
}
