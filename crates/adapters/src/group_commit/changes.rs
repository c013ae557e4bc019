//! The task that changes messages: it combines the changes of a room that wait while an
//! earlier transaction of the room is in progress.
//!
//! **Why.** A change takes its room's next number under the lock of the room's row, until it
//! is committed. With a transaction each, a thousand users who react to one message would wait
//! for a thousand commits.
//!
//! **When.** As messages: a change of an idle room is made at once, and those that arrive
//! meanwhile are the next batch.
//!
//! **Order.** A change takes its place in the queue in its first poll. The changes of a room
//! are in at most one batch at a time, in the order of the queue. If more wait than fit into
//! the batches in progress, rooms take turns.
//!
//! **Isolation.** A refusal by a rule is the result of one change, and no fault. A batch that
//! fails because of one change is made in halves ([`halves`](super::halves)); one whose outcome is unknown
//! is answered so to each of its callers.
//!
//! **Bounds.** At most [`QUEUE`] changes wait, of one room at most [`ROOM_QUEUE`], each for at
//! most [`QUEUE_DEADLINE`]; a batch has at most [`CHANGES`] of them and [`BATCH_BYTES`] of
//! content.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chat_domain::ports::{MadeChange, MessageChange, MessageChangeError};
use chat_domain::{MessageEdit, RoomId, StorageError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::error::BatchError;
use super::halves::{Item, in_halves};
use super::{BATCH_BYTES, QUEUE, QUEUE_DEADLINE, StoreError, refused};

/// The maximum number of changes in a batch. Each of them keeps the room locked, and leaves a
/// version of the message's row behind that the next one has to pass.
pub(super) const CHANGES: usize = 128;
/// The maximum number of changes that wait for one room. One room alone cannot fill the queue.
pub(super) const ROOM_QUEUE: usize = QUEUE / 2;
/// How often it is checked whether changes have waited for too long.
const TICK: Duration = Duration::from_millis(250);

const FULL: &str = "too many changes to messages are waiting";
const ROOM_FULL: &str = "too many changes to messages of the room are waiting";
const EXPIRED: &str = "the change waited too long to be made";

/// What became of a change in a batch.
pub(crate) type ChangeOutcome = Result<MadeChange, MessageChangeError>;

/// Makes batches of changes.
pub(crate) trait ChangeStore: Clone + Send + Sync + 'static {
    /// Makes the changes in their order, in one transaction: all of them that no rule refuses,
    /// or nothing.
    ///
    /// Returns the outcome of each change, in the order of the batch. Never fails with
    /// [`StoreError::Repeat`].
    fn change(
        &self,
        batch: &[Arc<MessageChange>],
    ) -> impl Future<Output = Result<Vec<ChangeOutcome>, StoreError>> + Send;
}

/// How changes become batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes {
    /// The maximum number of batches that are made at the same time.
    pub(crate) batches: usize,
    /// The maximum number of rooms whose changes one batch has.
    pub(crate) rooms: usize,
}

/// Queues changes for the task that makes them.
#[derive(Clone)]
pub(crate) struct ChangeQueue {
    changes: mpsc::Sender<Waiting>,
}

/// A change that waits to be made, and the way to answer its caller.
struct Waiting {
    since: Instant,
    change: Arc<MessageChange>,
    answer: oneshot::Sender<ChangeOutcome>,
}

impl ChangeQueue {
    /// Starts the task. It ends when the last clone of this value is dropped and all queued
    /// changes are answered.
    pub(crate) fn start(store: impl ChangeStore, lanes: Lanes) -> Self {
        let (changes, queue) = mpsc::channel(QUEUE);
        tokio::spawn(Changing::new(store, lanes).run(queue));
        Self { changes }
    }

    /// Changes a message; see the port. The change takes its place in the first poll, and is
    /// made even if this future is dropped later.
    pub(crate) async fn change(&self, change: MessageChange) -> ChangeOutcome {
        let (answer, outcome) = oneshot::channel();
        let waiting = Waiting {
            since: Instant::now(),
            change: Arc::new(change),
            answer,
        };
        let sent = self.changes.try_send(waiting);
        sent.map_err(|error| refused(&error, FULL))?;
        // Without an answer, the batch has panicked in its middle.
        outcome.await.unwrap_or_else(|_| {
            let reason = "the task that changes messages has ended";
            Err(StorageError::outcome_unknown(reason).into())
        })
    }

    /// Completes when the task has ended although this value still exists, with its name.
    pub(crate) async fn stopped(&self) -> &'static str {
        self.changes.closed().await;
        "group commit of changes to messages"
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        match &self.change.edit {
            MessageEdit::Edit(content) => content.as_str().len(),
            MessageEdit::Delete | MessageEdit::React { .. } | MessageEdit::Erase => 0,
        }
    }

    fn has_expired(&self) -> bool {
        self.since.elapsed() > QUEUE_DEADLINE
    }

    fn settle(self, outcome: ChangeOutcome) {
        // The caller may have stopped waiting.
        self.answer.send(outcome).ok();
    }

    fn refuse(self, reason: &'static str) {
        self.settle(Err(StorageError::unavailable(reason).into()));
    }
}

/// The task's state.
struct Changing<S> {
    store: S,
    lanes: Lanes,
    /// What waits for each room. A room is here as long as it is ready or in a batch.
    rooms: HashMap<RoomId, VecDeque<Waiting>>,
    /// The rooms whose turn is next: those that are in no batch.
    ready: VecDeque<RoomId>,
    waiting: usize,
    running: JoinSet<()>,
    /// The rooms of each batch that is being made.
    batches: HashMap<Id, Vec<RoomId>>,
}

impl<S: ChangeStore> Changing<S> {
    fn new(store: S, lanes: Lanes) -> Self {
        Self {
            store,
            lanes,
            rooms: HashMap::new(),
            ready: VecDeque::new(),
            waiting: 0,
            running: JoinSet::new(),
            batches: HashMap::new(),
        }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_open = true;
        while is_open || !self.rooms.is_empty() {
            tokio::select! {
                next = queue.recv(), if is_open => match next {
                    Some(waiting) => self.take(waiting),
                    None => is_open = false,
                },
                Some(done) = self.running.join_next_with_id() => self.finish(done),
                _ = ticks.tick(), if self.waiting > 0 => self.expire(),
            }
            while let Ok(waiting) = queue.try_recv() {
                self.take(waiting);
            }
            self.start();
        }
    }

    fn take(&mut self, waiting: Waiting) {
        if self.waiting >= QUEUE {
            waiting.refuse(FULL);
            return;
        }
        let room_id = waiting.change.room_id;
        let room = self.rooms.entry(room_id).or_insert_with(|| {
            self.ready.push_back(room_id);
            VecDeque::new()
        });
        if room.len() >= ROOM_QUEUE {
            waiting.refuse(ROOM_FULL);
            return;
        }
        room.push_back(waiting);
        self.waiting += 1;
    }

    /// Starts batches, as long as there are lanes and rooms.
    fn start(&mut self) {
        while self.running.len() < self.lanes.batches && !self.ready.is_empty() {
            let (rooms, batch) = self.gather();
            let mut store = self.store.clone();
            let task = self
                .running
                .spawn(async move { in_halves(&mut store, batch).await });
            self.batches.insert(task.id(), rooms);
        }
    }

    /// Takes one change of each room whose turn it is, then the next one of each, until the
    /// batch is full.
    fn gather(&mut self) -> (Vec<RoomId>, Vec<Waiting>) {
        let count = self.lanes.rooms.min(self.ready.len());
        let rooms: Vec<_> = self.ready.drain(..count).collect();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut turns: VecDeque<_> = rooms.iter().copied().collect();
        while batch.len() < CHANGES
            && bytes < BATCH_BYTES
            && let Some(room_id) = turns.pop_front()
        {
            let room = self.rooms.get_mut(&room_id);
            let Some(waiting) = room.and_then(VecDeque::pop_front) else {
                continue;
            };
            turns.push_back(room_id);
            self.waiting -= 1;
            if waiting.has_expired() {
                waiting.refuse(EXPIRED);
                continue;
            }
            bytes += waiting.bytes();
            batch.push(waiting);
        }
        (rooms, batch)
    }

    fn finish(&mut self, done: Result<(Id, ()), JoinError>) {
        let id = match done {
            Ok((id, ())) => id,
            Err(error) => {
                // Its callers get no answer, which says the same to them.
                tracing::error!(%error, "a batch panicked; whether its changes were made is unknown");
                error.id()
            }
        };
        for room_id in self.batches.remove(&id).into_iter().flatten() {
            match self.rooms.get(&room_id) {
                Some(room) if !room.is_empty() => self.ready.push_back(room_id),
                _ => drop(self.rooms.remove(&room_id)),
            }
        }
    }

    /// Refuses what has waited for too long. A room that has nothing left keeps its turn, in
    /// which it ends.
    fn expire(&mut self) {
        for room in self.rooms.values_mut() {
            while let Some(waiting) = room.pop_front_if(|w| w.has_expired()) {
                self.waiting -= 1;
                waiting.refuse(EXPIRED);
            }
        }
    }
}

impl<S: ChangeStore> Item<S> for Waiting {
    type Outcome = ChangeOutcome;

    async fn carry_out(store: &mut S, batch: &[Self]) -> Result<Vec<ChangeOutcome>, StoreError> {
        let changes: Vec<_> = batch.iter().map(|waiting| waiting.change.clone()).collect();
        store.change(&changes).await
    }

    fn answer(self, outcome: Result<ChangeOutcome, &BatchError>) {
        self.settle(outcome.unwrap_or_else(|error| Err(error.to_storage_error().into())));
    }
}
