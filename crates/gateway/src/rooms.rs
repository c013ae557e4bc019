//! Who is in which room on this node, and in which order they see its messages.
//!
//! A room has state here while somebody is in it or about to be. Its sequencer
//! turns the hints about stored messages into one gap-free order; where a hint is
//! missing, the log is read. Twice a second the newest number of every active room
//! is compared with what has been shown, so that even a lost last hint costs a
//! second and not a message.
//!
//! Each member has a cursor: the last message that was given to it. While it keeps
//! up, what the sequencer releases goes to it at once. When it does not, it falls
//! behind: it is served from the log, in pages, as it takes what it was given, until
//! it has caught up. A replay after a join is the same, before the member is shown
//! anything live.

mod members;
mod order;
mod reads;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chat_domain::ports::{MessageRepository, PointerMoved, RoomEventListener, RoomRepository};
use chat_domain::{Message, RoomId, Seq, StorageError};
use serde_json::value::RawValue;
use socketioxide_core::Sid;
use tokio_util::task::TaskTracker;

use self::members::{Member, Members};
use self::order::Order;
use self::reads::Reads;
use crate::lock;
use crate::socket::connection::Connection;
use crate::socket::objects::WireMessage;
use crate::socket::outbox::Packet;
use crate::socket::reply::encode;

/// How many messages are read from the log at once.
const PAGE: usize = 100;
/// Two commits and their hints may cross: a gap this young closes by itself.
const GAP_PATIENCE: Duration = Duration::from_millis(25);
/// How often active rooms are compared with the log. What a hint lost is shown
/// within a second: this, and the time to read it.
const RECONCILIATION: Duration = Duration::from_millis(500);
/// How long a member that has fallen behind waits for a log that cannot be read.
const LOG_RETRY: Duration = Duration::from_millis(500);

type Frame = Arc<RawValue>;

/// The rooms of this node.
pub(crate) struct Rooms {
    active: Mutex<HashMap<RoomId, Arc<Room>>>,
    messages: Arc<dyn MessageRepository>,
    log: Arc<dyn RoomRepository>,
    tasks: TaskTracker,
    /// Tells one stay in a room from the next.
    stays: AtomicU64,
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
    reads: Reads,
    /// How many are about to enter.
    entering: usize,
    /// Whether a task reads the log for this room.
    is_reading: bool,
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
            stays: AtomicU64::new(0),
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
                    reads: Reads::default(),
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
        state.members.by_id.remove(&connection);
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
            let rooms: Vec<Arc<Room>> = lock(&self.active).values().cloned().collect();
            if rooms.is_empty() {
                continue;
            }
            for room in &rooms {
                lock(&room.state).begin_interval(room.id);
            }
            let ids: Vec<RoomId> = rooms.iter().map(|room| room.id).collect();
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
        state.show(room_id);
        self.serve_fallen(&room, &mut state);
        if state.order.missing().is_some()
            && !state.is_reading
            && let Some(this) = self.this.upgrade()
        {
            state.is_reading = true;
            drop(state);
            self.tasks.spawn(this.fill_gap(room));
        }
    }

    /// Sees to it that whoever has fallen behind just now is served from the log.
    fn serve_fallen(&self, room: &Arc<Room>, state: &mut State) {
        for id in std::mem::take(&mut state.members.fallen) {
            if let (Some(member), Some(this)) = (state.members.by_id.get(&id), self.this.upgrade())
            {
                let member = (member.connection.clone(), member.stay);
                self.tasks.spawn(this.serve_from_log(room.clone(), member));
            }
        }
    }

    /// Gives a member what it missed, as it takes it, until it has caught up or is
    /// gone.
    async fn serve_from_log(self: Arc<Self>, room: Arc<Room>, member: (Arc<Connection>, u64)) {
        let (connection, stay) = member;
        while connection.session.outbox().space().await.is_ok() {
            let missed = match lock(&room.state).catch_up(room.id, connection.id, stay) {
                CaughtUp::Not(missed) => missed,
                CaughtUp::OrGone => return,
            };
            let page = match self.messages.after(room.id, missed.start, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, room = %room.id, "the log cannot be read");
                    tokio::time::sleep(LOG_RETRY).await;
                    continue;
                }
            };
            let is_empty = page.is_empty();
            for message in page {
                if connection.session.outbox().space().await.is_err() {
                    return;
                }
                let mut state = lock(&room.state);
                // Checked each time: after it has left, nothing of the room goes to it.
                let Some(member) = state.members.staying(connection.id, stay) else {
                    return;
                };
                member.give(message.seq, frame(&message));
            }
            if is_empty && let Some(member) = lock(&room.state).members.staying(connection.id, stay)
            {
                // All of it had been stored before the log was read: it was deleted.
                member.cursor = missed.end;
            }
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
                Ok(page) => {
                    state.fill(room.id, missing.end, &page);
                    self.serve_fallen(&room, &mut state);
                }
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

    fn on_pointer_moved(&self, moved: PointerMoved) {
        let Some(room) = lock(&self.active).get(&moved.room_id).cloned() else {
            return;
        };
        let mut state = lock(&room.state);
        state.reads.note(moved.user_id, moved.seq);
        state.tell_reads(room.id);
    }
}

impl Entrance<'_> {
    /// Lets the connection in. `newest` is the room's newest position, read after
    /// the room was opened. The connection is told by `welcome`, which gets the
    /// seam: the first message after it is the next one. Whoever is in the room
    /// already leaves it and joins in the same moment.
    pub(crate) fn enter<P: IntoIterator<Item = Packet>>(
        &self,
        connection: &Arc<Connection>,
        newest: Seq,
        welcome: impl FnOnce(Seq) -> P,
    ) {
        let mut state = lock(&self.room.state);
        self.start(&mut state, newest);
        let seam = state.order.released();
        self.admit(&mut state, connection, seam, welcome);
    }

    /// Gives the connection everything after `cursor`, from the log, as it takes it;
    /// then lets it in, where that ends.
    ///
    /// # Errors
    /// When the log cannot be read: the connection is not in the room then, and what
    /// it was given is contiguous.
    pub(crate) async fn replay<P: IntoIterator<Item = Packet>>(
        &self,
        connection: &Arc<Connection>,
        newest: Seq,
        mut cursor: Seq,
        welcome: impl FnOnce(Seq) -> P,
    ) -> Result<(), StorageError> {
        self.start(&mut lock(&self.room.state), newest);
        loop {
            {
                let mut state = lock(&self.room.state);
                if cursor >= state.order.released() {
                    self.admit(&mut state, connection, cursor, welcome);
                    return Ok(());
                }
            }
            let target = lock(&self.room.state).order.released();
            let page = self
                .rooms
                .messages
                .after(self.room.id, cursor, PAGE)
                .await?;
            let is_last = page.len() < PAGE;
            for message in page {
                cursor = message.seq;
                let packet = Packet::Event("newMessage", frame(&message));
                if connection.send_in_time(packet).await.is_err() {
                    // It is gone: nobody is let in, and nobody waits for an answer.
                    return Ok(());
                }
            }
            if is_last {
                // Everything up to the target was committed before: what is not in
                // the log was deleted.
                cursor = cursor.max(target);
            }
        }
    }

    fn start(&self, state: &mut State, newest: Seq) {
        state.order.start(newest);
        state.show(self.room.id);
        self.rooms.serve_fallen(&self.room, state);
    }

    fn admit<P: IntoIterator<Item = Packet>>(
        &self,
        state: &mut State,
        connection: &Arc<Connection>,
        seam: Seq,
        welcome: impl FnOnce(Seq) -> P,
    ) {
        connection.send(welcome(seam));
        // Whoever has gone meanwhile would stay for ever.
        if !connection.is_closed() {
            let member = Member {
                connection: connection.clone(),
                stay: self.rooms.stays.fetch_add(1, Ordering::Relaxed),
                cursor: seam,
                is_behind: false,
                late_reads: reads::LateReads::default(),
            };
            state.members.by_id.insert(connection.id, member);
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
        self.members.by_id.is_empty() && self.entering == 0
    }

    /// Shows a page of the log, read where the messages up to `end` were missing.
    /// Messages are numbered in the order of their commits: a number that the page
    /// leaps over, or does not reach though it is the last one, was deleted.
    fn fill(&mut self, room_id: RoomId, end: Seq, page: &[Message]) {
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
        }
        self.show(room_id);
    }

    /// Sends everything that is next to everybody who keeps up.
    fn show(&mut self, room_id: RoomId) {
        if let Order::From(sequencer) = &mut self.order {
            self.members.show(sequencer);
            self.tell_reads(room_id);
        }
    }

    /// Whether a member has everything that was shown: then it is shown again what
    /// is live.
    fn catch_up(&mut self, room_id: RoomId, id: Sid, stay: u64) -> CaughtUp {
        let released = self.order.released();
        let Some(member) = self.members.staying(id, stay) else {
            return CaughtUp::OrGone;
        };
        if member.cursor < released {
            return CaughtUp::Not(member.cursor..released);
        }
        member.is_behind = false;
        member.tell_late_reads(room_id);
        CaughtUp::OrGone
    }

    /// Tells everybody who has read up to where, as often as may be.
    fn tell_reads(&mut self, room_id: RoomId) {
        let released = self.order.released();
        let members = &mut self.members.by_id;
        self.reads.tell(released, members.len(), |user_id, seq| {
            let packet = reads::packet(room_id, user_id, seq);
            for member in members.values_mut() {
                let has_seen = !member.is_behind && member.cursor >= seq;
                if !(has_seen && member.give_live(packet.clone())) {
                    member.late_reads.note(user_id, seq);
                }
            }
        });
    }

    fn begin_interval(&mut self, room_id: RoomId) {
        self.reads.begin_interval();
        self.tell_reads(room_id);
        for member in self.members.by_id.values_mut() {
            if !member.is_behind {
                member.tell_late_reads(room_id);
            }
        }
    }
}

/// Where a member that is served from the log stands.
enum CaughtUp {
    /// What is to be read for it: what is after the range's start, up to and
    /// including its end.
    Not(Range<Seq>),
    /// It has caught up, or is not there any more: nothing is to be done.
    OrGone,
}

fn frame(message: &Message) -> Frame {
    encode(&WireMessage::from(message))
}
