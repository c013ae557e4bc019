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
//!
//! What is released together is shown together, as one piece. A room of many is walked
//! by a task of its own, without the room's lock and in turns with everything else.

mod catching_up;
mod members;
mod order;
mod reads;
mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use chat_domain::ports::{MessageRepository, PointerMoved, RoomEventListener, RoomRepository};
use chat_domain::{RoomId, Seq, StorageError, StoredMessage};
use socketioxide_core::Sid;
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use self::members::{Member, Members, Shown};
use self::order::Order;
use self::reads::Reads;
use self::run::{Run, new_message};
use crate::lock;
use crate::socket::connection::Connection;
use crate::socket::packet::Packet;

/// How many messages are read from the log at once.
const PAGE: usize = 100;
/// How often active rooms are compared with the log. What a hint lost is shown
/// within a second: this, and the time to read it.
const RECONCILIATION: Duration = Duration::from_millis(500);
/// How many rooms are compared at a time: nobody waits for all of a hundred thousand.
const COMPARED_AT_ONCE: usize = 2000;
/// A room of so many is shown its messages in the turn of whoever brings them.
const FEW_MEMBERS: usize = 32;
/// How many members of a larger one are served before everything else has its turn.
const TURN: usize = 128;

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
    reads: Reads,
    /// How many are about to enter.
    entering: usize,
    /// Whether a task reads the log for this room.
    is_reading: bool,
    /// Whether a task shows this room's messages. Nobody else does meanwhile.
    is_showing: bool,
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
                    reads: Reads::default(),
                    entering: 0,
                    is_reading: false,
                    is_showing: false,
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
        state.members.leave(connection);
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
            for rooms in rooms.chunks(COMPARED_AT_ONCE) {
                for room in rooms {
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
    }

    /// Changes a room's order, shows what can be shown, and reads what is missing.
    fn advance(&self, room_id: RoomId, change: impl FnOnce(&mut Order)) {
        let Some(room) = lock(&self.active).get(&room_id).cloned() else {
            return;
        };
        let mut state = lock(&room.state);
        change(&mut state.order);
        self.show(&room, state);
    }

    /// Shows what can be shown to everybody who keeps up, and reads what is missing.
    fn show(&self, room: &Arc<Room>, mut state: MutexGuard<'_, State>) {
        if state.is_showing {
            return;
        }
        if state.order.has_next() && state.members.len() > FEW_MEMBERS {
            if let Some(this) = self.this.upgrade() {
                state.is_showing = true;
                self.tasks.spawn(this.show_in_turns(room.clone()));
            }
            return;
        }
        while let Some(run) = state.next_run() {
            for member in state.members.iter() {
                self.show_to(room, member, &run);
            }
        }
        state.tell_reads(room.id);
        self.read_missing(room, &mut state);
    }

    async fn show_in_turns(self: Arc<Self>, room: Arc<Room>) {
        // What else is about to be released is shown with it.
        yield_now().await;
        loop {
            let (run, members) = {
                let mut state = lock(&room.state);
                let Some(run) = state.next_run() else {
                    state.is_showing = false;
                    state.tell_reads(room.id);
                    self.read_missing(&room, &mut state);
                    return;
                };
                (run, state.members.all())
            };
            for members in members.chunks(TURN) {
                for member in members {
                    self.show_to(&room, member, &run);
                }
                yield_now().await;
            }
        }
    }

    fn show_to(&self, room: &Arc<Room>, member: &Arc<Member>, run: &Run) {
        if member.show(run) == Shown::FellBehind
            && let Some(this) = self.this.upgrade()
        {
            let served = this.serve_fallen(room.clone(), member.clone());
            self.tasks.spawn(served);
        }
    }

    fn read_missing(&self, room: &Arc<Room>, state: &mut State) {
        if state.order.missing().is_some()
            && !state.is_reading
            && let Some(this) = self.this.upgrade()
        {
            state.is_reading = true;
            self.tasks.spawn(this.fill_gap(room.clone()));
        }
    }
}

impl RoomEventListener for Rooms {
    fn on_message_stored(&self, message: Arc<StoredMessage>) {
        self.advance(message.room_id, |order| order.offer(&message));
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
        self.start(newest);
        let mut state = lock(&self.room.state);
        let seam = state.order.released();
        admit(&mut state, connection, seam, welcome);
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
        self.start(newest);
        loop {
            {
                let mut state = lock(&self.room.state);
                if cursor >= state.order.released() {
                    admit(&mut state, connection, cursor, welcome);
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
                let packet = new_message(&message.into());
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

    fn start(&self, newest: Seq) {
        let mut state = lock(&self.room.state);
        state.order.start(newest);
        self.rooms.show(&self.room, state);
    }
}

fn admit<P: IntoIterator<Item = Packet>>(
    state: &mut State,
    connection: &Arc<Connection>,
    seam: Seq,
    welcome: impl FnOnce(Seq) -> P,
) {
    // In an earlier stay, too, nothing goes to it from here on.
    state.members.leave(connection.id);
    connection.send(welcome(seam));
    // Whoever has gone meanwhile would stay for ever.
    if !connection.is_closed() {
        state.members.enter(connection.clone(), seam);
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
        self.members.is_empty() && self.entering == 0
    }

    fn next_run(&mut self) -> Option<Run> {
        self.order.next_run(self.members.len())
    }

    /// Tells everybody who has read up to where, as often as may be.
    fn tell_reads(&mut self, room_id: RoomId) {
        let released = self.order.released();
        let members = &self.members;
        self.reads.tell(released, members.len(), |user_id, seq| {
            let packet = reads::packet(room_id, user_id, seq);
            for member in members.iter() {
                member.tell_read(&packet, user_id, seq);
            }
        });
    }

    fn begin_interval(&mut self, room_id: RoomId) {
        self.reads.begin_interval();
        self.tell_reads(room_id);
        for member in self.members.iter() {
            member.tell_late_reads(room_id);
        }
    }
}
