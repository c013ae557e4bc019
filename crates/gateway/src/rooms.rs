//! Who is in which room on this node, and in which order they see its messages.
//!
//! A room has state here while somebody is in it or about to be. Its sequencer
//! turns the hints about stored messages into one gap-free order; where a hint is
//! missing, the log is read. Once a second the newest number of every active room
//! is compared with what has been shown, so that even a lost last hint costs a
//! second and not a message.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chat_domain::ports::{MessageRepository, RoomEventListener, RoomRepository};
use chat_domain::{Message, RoomId, RoomSequencer, Seq};
use serde_json::value::RawValue;
use socketioxide_core::Sid;
use tokio_util::task::TaskTracker;

use crate::lock;
use crate::socket::connection::Connection;
use crate::socket::outbox::Packet;
use crate::socket::protocol::WireMessage;
use crate::socket::reply::encode;

/// How many messages of one room wait for a missing one; the log has them too.
const MAX_WAITING: usize = 1024;
/// How many messages are read from the log at once.
const PAGE: usize = 200;
/// Two commits and their hints may cross: a gap this young closes by itself.
const GAP_PATIENCE: Duration = Duration::from_millis(25);
/// How often active rooms are compared with the log. What a hint lost is shown
/// within a second: this, and the time to read it.
const RECONCILIATION: Duration = Duration::from_millis(500);

type Frame = Arc<RawValue>;

/// The rooms of this node.
pub(crate) struct Rooms {
    active: Mutex<HashMap<RoomId, Arc<Room>>>,
    messages: Arc<dyn MessageRepository>,
    log: Arc<dyn RoomRepository>,
    tasks: TaskTracker,
    /// This, for the tasks that outlast a call.
    this: Weak<Self>,
}

struct Room {
    id: RoomId,
    state: Mutex<State>,
}

/// A room's state. Lock order: the map of rooms before a room's state.
struct State {
    order: Order,
    members: Members,
    /// How many are about to enter.
    entering: usize,
    /// Whether a task reads the log for this room.
    is_reading: bool,
}

/// Who is in a room.
#[derive(Default)]
struct Members(HashMap<Sid, Arc<Connection>>);

enum Order {
    /// Nobody has come in yet: how far the room has come is being read, and hints
    /// are kept.
    Unknown(Vec<(Seq, Frame)>),
    From(RoomSequencer<Frame>),
}

/// Somebody who is about to enter a room, which is kept active meanwhile.
pub(crate) struct Entrance<'a> {
    rooms: &'a Rooms,
    room: Arc<Room>,
}

impl Rooms {
    /// Rooms whose messages are stored in this log.
    pub(crate) fn new(
        messages: Arc<dyn MessageRepository>,
        log: Arc<dyn RoomRepository>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            active: Mutex::default(),
            messages,
            log,
            tasks,
            this: this.clone(),
        })
    }

    /// Makes the room active. Must come before its newest position is read: what
    /// is stored from then on is not missed.
    pub(crate) fn open(&self, room_id: RoomId) -> Entrance<'_> {
        let mut active = lock(&self.active);
        let room = active.entry(room_id).or_insert_with(|| {
            Arc::new(Room {
                id: room_id,
                state: Mutex::new(State {
                    order: Order::Unknown(Vec::new()),
                    members: Members::default(),
                    entering: 0,
                    is_reading: false,
                }),
            })
        });
        lock(&room.state).entering += 1;
        Entrance {
            rooms: self,
            room: room.clone(),
        }
    }

    /// After this, nothing of the room goes to the connection.
    pub(crate) fn leave(&self, room_id: RoomId, connection: Sid) {
        let mut active = lock(&self.active);
        let Some(room) = active.get(&room_id) else {
            return;
        };
        let mut state = lock(&room.state);
        state.members.0.remove(&connection);
        let is_idle = state.is_idle();
        drop(state);
        if is_idle {
            active.remove(&room_id);
        }
    }

    /// How many rooms are active.
    pub(crate) fn count(&self) -> usize {
        lock(&self.active).len()
    }

    /// Compares the active rooms with the log, for ever.
    pub(crate) async fn reconcile(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(RECONCILIATION);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let ids: Vec<RoomId> = lock(&self.active).keys().copied().collect();
            if ids.is_empty() {
                continue;
            }
            match self.log.newest(&ids).await {
                Ok(newest) => {
                    for (id, seq) in newest {
                        self.advance(id, |order| order.reaches(seq));
                    }
                }
                Err(error) => tracing::debug!(%error, "rooms cannot be compared with the log"),
            }
        }
    }

    /// Changes a room's order, shows what can be shown, and reads what is missing.
    fn advance(&self, room_id: RoomId, change: impl FnOnce(&mut Order)) {
        let Some(room) = lock(&self.active).get(&room_id).cloned() else {
            return;
        };
        let mut state = lock(&room.state);
        change(&mut state.order);
        state.show();
        if state.order.missing().is_some()
            && !state.is_reading
            && let Some(this) = self.this.upgrade()
        {
            state.is_reading = true;
            drop(state);
            self.tasks.spawn(this.fill_gap(room));
        }
    }

    /// Reads the log until nothing is missing, or it cannot be read: then the next
    /// comparison tries again.
    async fn fill_gap(self: Arc<Self>, room: Arc<Room>) {
        tokio::time::sleep(GAP_PATIENCE).await;
        loop {
            let missing = {
                let mut state = lock(&room.state);
                match state.order.missing() {
                    Some(missing) if !state.is_idle() => missing,
                    _ => {
                        state.is_reading = false;
                        return;
                    }
                }
            };
            let page = self.messages.after(room.id, missing.start, PAGE).await;
            let mut state = lock(&room.state);
            match page {
                Ok(page) => state.fill(missing.end, &page),
                Err(error) => {
                    state.is_reading = false;
                    tracing::warn!(%error, room = %room.id, "the log cannot be read");
                    return;
                }
            }
        }
    }
}

impl RoomEventListener for Rooms {
    fn on_message_stored(&self, message: Arc<Message>) {
        self.advance(message.room_id, |order| {
            order.offer(message.seq, frame(&message));
        });
    }
}

impl Entrance<'_> {
    /// Lets the connection in. `newest` is the room's newest position, read after
    /// the room was opened. The connection is told by `welcome`, which gets the
    /// seam: the first message after it is the next one. Whoever is in the room
    /// already leaves it and joins in the same moment.
    pub(crate) fn enter<P: IntoIterator<Item = Packet>>(
        self,
        connection: &Arc<Connection>,
        newest: Seq,
        welcome: impl FnOnce(Seq) -> P,
    ) {
        let mut state = lock(&self.room.state);
        state.order.start(newest);
        state.show();
        connection.send(welcome(state.order.released()));
        // Whoever has gone meanwhile would stay for ever.
        if !connection.is_closed() {
            state.members.0.insert(connection.id, connection.clone());
        }
    }
}

impl Drop for Entrance<'_> {
    fn drop(&mut self) {
        let mut active = lock(&self.rooms.active);
        let mut state = lock(&self.room.state);
        state.entering -= 1;
        if state.is_idle() {
            active.remove(&self.room.id);
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.members.0.is_empty() && self.entering == 0
    }

    /// Shows a page of the log, read where the messages up to `end` were missing.
    /// Messages are numbered in the order of their commits: a number that the page
    /// leaps over, or does not reach though it is the last one, was deleted.
    fn fill(&mut self, end: Seq, page: &[Message]) {
        let Order::From(sequencer) = &mut self.order else {
            return;
        };
        let is_last = page.len() < PAGE;
        let mut next = sequencer.released().next();
        for message in page {
            if message.seq > next {
                sequencer.skip(message.seq.before());
            }
            sequencer.offer(message.seq, frame(message));
            next = message.seq.next();
            self.members.show(sequencer);
        }
        if is_last && next <= end {
            sequencer.skip(end);
            self.members.show(sequencer);
        }
    }

    /// Sends everything that is next to everybody.
    fn show(&mut self) {
        let Order::From(sequencer) = &mut self.order else {
            return;
        };
        self.members.show(sequencer);
    }
}

impl Members {
    fn show(&self, sequencer: &mut RoomSequencer<Frame>) {
        while let Some((_, frame)) = sequencer.release() {
            for member in self.0.values() {
                member.send([Packet::Event("newMessage", frame.clone())]);
            }
        }
    }
}

impl Order {
    fn start(&mut self, newest: Seq) {
        if let Self::Unknown(early) = self {
            let mut sequencer = RoomSequencer::start(newest, MAX_WAITING);
            for (seq, frame) in std::mem::take(early) {
                sequencer.offer(seq, frame);
            }
            *self = Self::From(sequencer);
        }
    }

    fn offer(&mut self, seq: Seq, frame: Frame) {
        match self {
            Self::From(sequencer) => sequencer.offer(seq, frame),
            // Beyond the bound a hint is lost, and the comparison finds it.
            Self::Unknown(early) if early.len() < MAX_WAITING => early.push((seq, frame)),
            Self::Unknown(_) => {}
        }
    }

    fn reaches(&mut self, newest: Seq) {
        if let Self::From(sequencer) = self {
            sequencer.reaches(newest);
        }
    }

    fn released(&self) -> Seq {
        match self {
            Self::From(sequencer) => sequencer.released(),
            Self::Unknown(_) => Seq::START,
        }
    }

    /// What must be read from the log.
    fn missing(&self) -> Option<Range<Seq>> {
        match self {
            Self::From(sequencer) => sequencer.missing(),
            Self::Unknown(_) => None,
        }
    }
}

fn frame(message: &Message) -> Frame {
    encode(&WireMessage::from(message))
}
