//! The active rooms of this node: joining and leaving, and what hints cause.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use bytes::Bytes;
use chat_domain::ports::{
    ChangeRepository, Hint, HintListener, MessageRepository, RoomEvents, RoomRepository,
};
use chat_domain::{ConnectionId, RoomEntry, RoomId};
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use crate::claim::{Claim, Job};
use crate::encoder::Encoder;
use crate::lock;
use crate::member::{Handed, Member, Seam, Start};
use crate::observer::Observer;
use crate::patience::Patience;
use crate::read_pointers;
use crate::recipient::Recipient;
use crate::room::{Room, State};
use crate::rules::RulesListener;
use crate::unfinished::UnfinishedRooms;

/// The active rooms of this node.
pub struct Rooms<R: Recipient> {
    pub(crate) active: Mutex<HashMap<RoomId, Arc<Room<R>>>>,
    pub(crate) messages: Arc<dyn MessageRepository>,
    pub(crate) log: Arc<dyn RoomRepository>,
    pub(crate) changes: Arc<dyn ChangeRepository>,
    pub(crate) unfinished: Arc<UnfinishedRooms>,
    pub(crate) patience: Patience,
    events: Arc<dyn RoomEvents>,
    pub(crate) encoder: Arc<dyn Encoder>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) rules: Arc<dyn RulesListener>,
    /// Members that a task serves from the log.
    pub(crate) behind: AtomicUsize,
    tasks: TaskTracker,
    /// For tasks that outlive a call.
    this: Weak<Self>,
}

impl<R: Recipient> Rooms<R> {
    /// Creates the delivery of rooms whose messages are stored in this log, and subscribes
    /// it to the hints. Its tasks run in `tasks`.
    #[allow(clippy::too_many_arguments, reason = "each is a port of its own")]
    pub fn new(
        messages: Arc<dyn MessageRepository>,
        log: Arc<dyn RoomRepository>,
        changes: Arc<dyn ChangeRepository>,
        events: Arc<dyn RoomEvents>,
        encoder: Arc<dyn Encoder>,
        observer: Arc<dyn Observer>,
        rules: Arc<dyn RulesListener>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let rooms = Arc::new_cyclic(|this| Self {
            active: Mutex::default(),
            messages,
            log,
            changes,
            unfinished: Arc::default(),
            patience: Patience::default(),
            events,
            encoder,
            observer,
            rules,
            behind: AtomicUsize::new(0),
            tasks,
            this: this.clone(),
        });
        let listener: Arc<dyn HintListener> = rooms.clone();
        rooms.events.subscribe(Arc::downgrade(&listener));
        rooms
    }

    /// Returns the number of active rooms.
    pub fn count(&self) -> usize {
        lock(&self.active).len()
    }

    /// Returns the number of members that have fallen behind.
    pub fn lagging_members(&self) -> usize {
        self.behind.load(Ordering::Relaxed)
    }

    /// Returns the active rooms.
    pub(crate) fn ids(&self) -> Vec<RoomId> {
        lock(&self.active).keys().copied().collect()
    }

    pub(crate) fn find(&self, room_id: RoomId) -> Option<Arc<Room<R>>> {
        lock(&self.active).get(&room_id).cloned()
    }

    /// Returns the connections that are in the room or about to join it: those that a change
    /// of its rules may exclude.
    pub fn recipients(&self, room_id: RoomId) -> Vec<Arc<R>> {
        let Some(room) = self.find(room_id) else {
            return Vec::new();
        };
        let groups = {
            let state = lock(&room.state);
            [state.members.snapshot(), state.entering.snapshot()]
        };
        let members = groups.iter().flatten().flat_map(|group| group.iter());
        members.map(|member| member.recipient.clone()).collect()
    }

    /// Excludes a connection from a room, and gives it the farewell. When this returns,
    /// nothing from the room is handed to it after the farewell, until it joins again:
    /// neither live nor from the log, nor a read pointer that waits. If it is about to join,
    /// the join ends: it gets no welcome, and
    /// [`NotAdmitted::Excluded`](crate::NotAdmitted) is reported.
    ///
    /// Returns whether it was in the room or about to join. Otherwise it gets no farewell.
    pub fn exclude(&self, room_id: RoomId, connection: ConnectionId, farewell: Bytes) -> bool {
        self.exclude_if(room_id, connection, farewell, |_| true)
    }

    /// Excludes a connection if the room's state meets the condition.
    pub(crate) fn exclude_if(
        &self,
        room_id: RoomId,
        connection: ConnectionId,
        farewell: Bytes,
        condition: impl FnOnce(&State<R>) -> bool,
    ) -> bool {
        let active = lock(&self.active);
        let Some(room) = active.get(&room_id).cloned() else {
            return false;
        };
        let mut state = lock(&room.state);
        if !condition(&state) {
            return false;
        }
        let stay = state.members.leave(connection);
        let entering = state.entering.leave(connection);
        let Some(member) = stay.or(entering) else {
            return false;
        };
        // Under the lock under which it could enter again.
        member.recipient.give(farewell);
        self.end_stay(active, &room, state, connection);
        true
    }

    /// Hands out read pointers as long as any wait, at the promised pace.
    async fn pace_reads(self: Arc<Self>, room: Arc<Room<R>>, claim: Claim<R>) {
        loop {
            let (due, groups, next_look) = {
                let mut state = lock(&room.state);
                if !state.reads.has_waiting() || state.is_idle() || state.is_closed {
                    claim.release(&mut state);
                    return;
                }
                let (released, members) = (state.order.released(), state.members.len());
                let due = state.reads.take_due(released, members);
                (due, state.members.snapshot(), state.reads.next_look())
            };
            let Some(updates) = read_pointers::encode(room.id, due, &*self.encoder) else {
                // Waits for a message, for the pause of a user, or for the next interval.
                let changed = room.reads_changed.notified();
                tokio::time::timeout_at(next_look, changed).await.ok();
                continue;
            };
            for group in groups {
                for member in group.iter() {
                    if member.hand_out_reads(&updates) == Handed::FellBehind {
                        self.serve(&room, member);
                    }
                }
                yield_now().await;
            }
        }
    }

    pub(crate) fn spawn<F>(&self, task: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(this) = self.this.upgrade() {
            self.tasks.spawn(task(this));
        }
    }

    pub(crate) fn announce(&self, hint: Hint) {
        self.events.announce(hint);
    }

    /// Forgets the room if no connection needs it any more.
    pub(crate) fn close_if_idle(
        &self,
        active: &mut HashMap<RoomId, Arc<Room<R>>>,
        room: &Room<R>,
        is_idle: bool,
    ) {
        if is_idle {
            active.remove(&room.id);
            self.events.release(room.id);
            room.reads_changed.notify_one();
            room.typing_changed.notify_one();
        }
    }

    /// Makes the room active for a connection that is about to join. Returns what its replay
    /// is handed to.
    pub(crate) fn activate(
        &self,
        room_id: RoomId,
        recipient: Arc<R>,
    ) -> (Arc<Room<R>>, Arc<Member<R>>) {
        let mut active = lock(&self.active);
        let room = active.entry(room_id).or_insert_with(|| {
            self.events.serve(room_id);
            Arc::new(Room::new(room_id, self.unfinished.clone()))
        });
        let mut state = lock(&room.state);
        let entering = state
            .entering
            .enter(recipient, Seam::default(), Start::Behind);
        drop(state);
        (room.clone(), entering)
    }

    /// Ends the wait of a connection that was about to join.
    pub(crate) fn deactivate(&self, room: &Room<R>, entering: &Member<R>) {
        let mut active = lock(&self.active);
        let mut state = lock(&room.state);
        // The room did not wait any more for a join that was ended, and may be closed.
        if entering.has_left() {
            return;
        }
        state.entering.leave(entering.recipient.id());
        let is_idle = state.is_idle();
        drop(state);
        self.close_if_idle(&mut active, room, is_idle);
    }
}

impl<R: Recipient> HintListener for Rooms<R> {
    fn on_hint(&self, hint: Hint) {
        let Some(room) = self.find(hint.room_id) else {
            return;
        };
        let mut state = lock(&room.state);
        if !self.is_current(hint.room_id, &mut state, hint.generation) {
            return;
        }
        match hint.entry {
            RoomEntry::Message(message) => {
                state.announced.get_or_insert_with(Instant::now);
                state.order.offer(&message, &*self.encoder);
                self.hand_out(&room, state);
            }
            RoomEntry::ReadPointer { user_id, seq } => {
                state.reads.note(user_id, seq);
                if let Some(claim) = Claim::take(&room, &mut state, Job::PaceReads) {
                    self.spawn(|this| this.pace_reads(room.clone(), claim));
                }
                drop(state);
                room.reads_changed.notify_one();
            }
            RoomEntry::Typing(signal) => {
                drop(state);
                self.note_typing(&room, &signal);
            }
            RoomEntry::Rules { number, change } => {
                self.change_rules(&room, &mut state, number, &change);
            }
            RoomEntry::Changes { rev } => {
                state.changes.reaches(rev);
                self.resume_changes(&room, &mut state);
            }
            // It says no more than its generation.
            RoomEntry::Closed => {}
        }
    }
}
