//! Which users are in a room, on all nodes.
//!
//! The other nodes are asked when a client wants to know it. Many clients that ask at once share
//! one question. A node names as many users as a client is told, and a number for every other one,
//! so that a user with connections to several nodes is counted once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_domain::ports::{NodeName, PresenceNews};
use chat_domain::{RoomId, User, UserId};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::Presence;
use crate::lock;
use crate::recipient::Recipient;
use crate::rooms::Rooms;

/// How many users a client is told.
const MAX_USERS: usize = 200;
/// How long the other nodes may take to answer.
const DEADLINE: Duration = Duration::from_secs(1);
/// A room with more users than this is asked about at most once per [`PAUSE`] of each node.
const MANY_USERS: usize = 1000;
const PAUSE: Duration = Duration::from_millis(500);

/// Which users are in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomPresence {
    /// The users, by id; not all if they are many.
    pub users: Vec<User>,
    /// How many there are.
    pub count: usize,
    /// Whether every node has answered.
    pub is_complete: bool,
}

/// The questions of this node that are not answered yet.
#[derive(Default)]
pub(super) struct Questions(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    next_id: u64,
    pending: HashMap<u64, Pending>,
    /// The rooms about which a task asks, and the callers that wait for its next answer.
    rooms: HashMap<RoomId, Vec<oneshot::Sender<RoomPresence>>>,
}

struct Pending {
    /// The nodes that have not answered.
    missing: HashSet<NodeName>,
    found: Found,
    done: Option<oneshot::Sender<()>>,
}

/// Users, each once.
#[derive(Default)]
struct Found {
    users: Vec<User>,
    numbers: HashSet<u64>,
}

impl Found {
    fn add(&mut self, user: &User) {
        if self.numbers.insert(number(&user.id)) && self.users.len() < MAX_USERS {
            self.users.push(user.clone());
        }
    }

    /// Returns the numbers of those that are not among the users.
    fn others(&self) -> Vec<u64> {
        let named: HashSet<_> = self.users.iter().map(|user| number(&user.id)).collect();
        self.numbers.difference(&named).copied().collect()
    }
}

/// Returns a number for a user, which is the same in every process: 64-bit FNV-1a, with its bits
/// mixed.
fn number(user_id: &UserId) -> u64 {
    let hash = user_id
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

impl Questions {
    /// Registers a question to these nodes.
    fn ask(&self, nodes: HashSet<NodeName>) -> (u64, oneshot::Receiver<()>) {
        let (done, is_done) = oneshot::channel();
        let mut asked = lock(&self.0);
        asked.next_id += 1;
        let id = asked.next_id;
        let pending = Pending {
            missing: nodes,
            found: Found::default(),
            done: Some(done),
        };
        asked.pending.insert(id, pending);
        (id, is_done)
    }

    pub(super) fn answered(&self, id: u64, from: NodeName, users: Vec<User>, others: Vec<u64>) {
        let mut asked = lock(&self.0);
        let Some(pending) = asked.pending.get_mut(&id) else {
            return;
        };
        users.iter().for_each(|user| pending.found.add(user));
        pending.found.numbers.extend(others);
        pending.missing.remove(&from);
        if pending.missing.is_empty()
            && let Some(done) = pending.done.take()
        {
            done.send(()).ok();
        }
    }

    /// No answer will come any more.
    pub(super) fn disconnected(&self) {
        for pending in lock(&self.0).pending.values_mut() {
            pending.done = None;
        }
    }

    fn take(&self, id: u64) -> Option<Pending> {
        lock(&self.0).pending.remove(&id)
    }

    /// Lets a caller wait for the next answer about a room. Returns whether no task asks yet.
    fn wait(&self, room_id: RoomId, caller: oneshot::Sender<RoomPresence>) -> bool {
        let mut asked = lock(&self.0);
        let is_first = !asked.rooms.contains_key(&room_id);
        asked.rooms.entry(room_id).or_default().push(caller);
        is_first
    }

    /// Takes the callers that wait; `None`, and the task ends, if none does.
    fn callers(&self, room_id: RoomId) -> Option<Vec<oneshot::Sender<RoomPresence>>> {
        let mut asked = lock(&self.0);
        let callers = std::mem::take(asked.rooms.get_mut(&room_id)?);
        if callers.is_empty() {
            asked.rooms.remove(&room_id);
            return None;
        }
        Some(callers)
    }
}

/// Forgets the callers of a task that has panicked: they get no answer, and later ones begin anew.
struct Ends<'a>(&'a Questions, RoomId);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        lock(&self.0.0).rooms.remove(&self.1);
    }
}

impl<R: Recipient> Presence<R> {
    /// Returns which users are in a room after this call. Invisible users are not among them.
    pub async fn in_room(self: &Arc<Self>, room_id: RoomId) -> RoomPresence {
        let (caller, answer) = oneshot::channel();
        if self.questions.wait(room_id, caller) {
            let this = self.clone();
            self.rooms
                .spawn(|_| async move { this.ask_about(room_id).await });
        }
        answer.await.unwrap_or_default()
    }

    async fn ask_about(&self, room_id: RoomId) {
        let _ends = Ends(&self.questions, room_id);
        while let Some(callers) = self.questions.callers(room_id) {
            let found = self.find(room_id).await;
            let is_large = found.count > MANY_USERS;
            for caller in callers {
                caller.send(found.clone()).ok();
            }
            if is_large {
                sleep(PAUSE).await;
            }
        }
    }

    async fn find(&self, room_id: RoomId) -> RoomPresence {
        let mut found = self.find_here(room_id).await;
        let mut is_complete = true;
        if let Some(exchange) = &self.exchange {
            let (nodes, is_connected) = {
                let state = lock(&self.state);
                is_complete = state.exchanging.knows_others();
                let nodes: HashSet<_> = state.others.names().cloned().collect();
                (nodes, state.exchanging.is_connected())
            };
            if !nodes.is_empty() {
                is_complete &= is_connected;
            }
            if is_connected && !nodes.is_empty() {
                let (id, is_done) = self.questions.ask(nodes);
                exchange.publish(PresenceNews::Question { id, room_id });
                timeout(DEADLINE, is_done).await.ok();
                if let Some(pending) = self.questions.take(id) {
                    is_complete &= pending.missing.is_empty();
                    pending.found.users.iter().for_each(|user| found.add(user));
                    found.numbers.extend(pending.found.numbers);
                }
            }
        }
        found.users.sort_by(|one, other| one.id.cmp(&other.id));
        RoomPresence {
            count: found.numbers.len(),
            users: found.users,
            is_complete,
        }
    }

    async fn find_here(&self, room_id: RoomId) -> Found {
        let mut found = Found::default();
        self.rooms
            .visit_users(room_id, |user| found.add(user))
            .await;
        found
    }

    /// Answers the question of another node.
    pub(super) fn answer(&self, to: NodeName, id: u64, room_id: RoomId) {
        let Some(exchange) = self.exchange.clone() else {
            return;
        };
        self.rooms.spawn(|rooms| async move {
            let mut found = Found::default();
            rooms.visit_users(room_id, |user| found.add(user)).await;
            exchange.publish(PresenceNews::Answer {
                to,
                id,
                others: found.others(),
                users: found.users,
            });
        });
    }
}

impl<R: Recipient> Rooms<R> {
    /// Visits the users of all connections that are in the room, some repeatedly.
    async fn visit_users(&self, room_id: RoomId, mut visit: impl FnMut(&User) + Send) {
        let Some(room) = self.find(room_id) else {
            return;
        };
        let groups = {
            let state = lock(&room.state);
            match state.is_closed {
                true => Vec::new(),
                false => state.members.snapshot(),
            }
        };
        for group in groups {
            for member in group.iter() {
                member.recipient.visit_user(&mut visit);
            }
            yield_now().await;
        }
    }
}
