//! The task that makes batches of what waits, and knows which rooms are being stored.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use chat_domain::RoomId;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet, yield_now};
use tokio::time::sleep_until;

use super::batch::{self, Outcome, Stored};
use super::{BATCH, BATCH_BYTES, LockWait, PATIENCE, QUEUE, QUEUE_DEADLINE, Store, Waiting};

/// How long a room that was found locked is kept out of others' batches, unless it is
/// found free before.
const LOCKED_FOR: Duration = Duration::from_secs(10);

/// The task's state. A lane is a store that may be idle or busy with one batch.
pub(super) struct Committer<S, F> {
    queue: mpsc::Receiver<Waiting>,
    /// Whether there may be more to come.
    input: Input,
    /// What was taken from the queue and not yet into a batch, before the rest of the
    /// queue.
    next: VecDeque<Waiting>,
    /// What waits for a room that is being stored, or is locked.
    held: HashMap<RoomId, VecDeque<Waiting>>,
    held_count: usize,
    /// The rooms that are being stored.
    busy: HashSet<RoomId>,
    /// The rooms that were found locked, and until when that is remembered.
    locked: HashMap<RoomId, Instant>,
    /// What is stored and not told yet.
    stored: Vec<Stored>,
    running: JoinSet<Done<S>>,
    batches: HashMap<Id, Batch>,
    idle: Vec<S>,
    open: F,
}

#[derive(PartialEq, Eq)]
enum Input {
    Open,
    Closed,
}

/// A batch in the making.
#[derive(Default)]
struct Gathered {
    batch: Vec<Waiting>,
    bytes: usize,
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    fn push(&mut self, waiting: Waiting) {
        if waiting.since.elapsed() > QUEUE_DEADLINE {
            waiting.refuse("the message waited too long");
            return;
        }
        self.bytes += waiting.message.content.as_str().len();
        self.batch.push(waiting);
    }
}

/// A batch that is being stored.
struct Batch {
    rooms: HashSet<RoomId>,
    wait: LockWait,
    since: Instant,
}

/// A batch that has come to its end.
struct Done<S> {
    store: S,
    outcome: Outcome,
}

impl<S: Store, F: Fn() -> S> Committer<S, F> {
    pub(super) fn new(queue: mpsc::Receiver<Waiting>, lanes: usize, open: F) -> Self {
        Self {
            queue,
            input: Input::Open,
            next: VecDeque::new(),
            held: HashMap::new(),
            held_count: 0,
            busy: HashSet::new(),
            locked: HashMap::new(),
            stored: Vec::new(),
            running: JoinSet::new(),
            batches: HashMap::new(),
            idle: std::iter::repeat_with(&open).take(lanes).collect(),
            open,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.blocked_until().is_none() {
                self.start_free();
            }
            self.start_locked();
            if !self.stored.is_empty() {
                // The next batch is on its way before those who hear of this one keep
                // the processor: the database does not wait for them.
                yield_now().await;
                self.stored.drain(..).for_each(Stored::tell);
            }
            // What has just been started blocks the next one.
            let blocked_until = self.blocked_until();
            let may_take = blocked_until.is_none() && !self.idle.is_empty();
            if self.input == Input::Closed && self.running.is_empty() && self.next.is_empty() {
                return;
            }
            let patience_ends = blocked_until.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                Some(done) = self.running.join_next_with_id() => self.finish(done),
                received = self.queue.recv(), if may_take && self.input == Input::Open => {
                    match received {
                        Some(waiting) => self.next.push_back(waiting),
                        None => self.input = Input::Closed,
                    }
                }
                () = sleep_until(patience_ends.into()),
                    if blocked_until.is_some() && !self.idle.is_empty() => {}
            }
        }
    }

    /// Until when a batch keeps others waiting, so that they become one batch. One
    /// that waits for a lock, or takes too long, does not.
    fn blocked_until(&self) -> Option<Instant> {
        let ends = self
            .batches
            .values()
            .filter_map(|batch| (batch.wait == LockWait::Short).then_some(batch.since + PATIENCE));
        ends.max().filter(|end| *end > Instant::now())
    }

    /// Starts a batch of what waits, but for rooms that are being stored or locked.
    fn start_free(&mut self) {
        let Some(store) = self.idle.pop() else {
            return;
        };
        let mut gathered = Gathered::default();
        while !gathered.is_full() {
            let next = self.next.pop_front();
            let Some(waiting) = next.or_else(|| self.queue.try_recv().ok()) else {
                break;
            };
            let room_id = waiting.room_id();
            if self.busy.contains(&room_id) || self.locked.contains_key(&room_id) {
                self.hold(waiting);
            } else {
                gathered.push(waiting);
            }
        }
        self.start(store, gathered.batch, LockWait::Short);
    }

    /// Starts a batch of rooms that are locked, while a lane is left for the others.
    fn start_locked(&mut self) {
        if self.locked.is_empty() {
            return;
        }
        let now = Instant::now();
        let held = &self.held;
        self.locked
            .retain(|room_id, until| *until > now || held.contains_key(room_id));
        let patient = self.batches.values().filter(|b| b.wait == LockWait::Long);
        if patient.count() + 1 >= self.idle.len() + self.batches.len() {
            return;
        }
        let rooms: Vec<_> = self
            .locked
            .keys()
            .filter(|room_id| self.held.contains_key(room_id) && !self.busy.contains(room_id))
            .copied()
            .collect();
        let Some(store) = (!rooms.is_empty()).then(|| self.idle.pop()).flatten() else {
            return;
        };
        let mut gathered = Gathered::default();
        for room_id in rooms {
            let mut released = self.release(room_id);
            while !gathered.is_full()
                && let Some(waiting) = released.pop_front()
            {
                gathered.push(waiting);
            }
            released.into_iter().for_each(|waiting| self.hold(waiting));
        }
        self.start(store, gathered.batch, LockWait::Long);
    }

    fn start(&mut self, mut store: S, batch: Vec<Waiting>, wait: LockWait) {
        if batch.is_empty() {
            self.idle.push(store);
            return;
        }
        let rooms: HashSet<_> = batch.iter().map(Waiting::room_id).collect();
        self.busy.extend(&rooms);
        let task = self.running.spawn(async move {
            let outcome = batch::write(&mut store, batch, wait).await;
            Done { store, outcome }
        });
        let since = Instant::now();
        self.batches.insert(task.id(), Batch { rooms, wait, since });
    }

    fn finish(&mut self, done: Result<(Id, Done<S>), JoinError>) {
        let (id, done) = match done {
            Ok(done) => done,
            Err(error) => {
                // It has panicked: its senders are told that nobody knows.
                tracing::error!(%error, "a batch was not stored");
                let done = Done {
                    store: (self.open)(),
                    outcome: Outcome::default(),
                };
                (error.id(), done)
            }
        };
        self.idle.push(done.store);
        let Outcome {
            stored,
            left,
            locked,
        } = done.outcome;
        self.stored.extend(stored);
        let Some(batch) = self.batches.remove(&id) else {
            return;
        };
        let until = Instant::now() + LOCKED_FOR;
        // Before what was held meanwhile, which came later.
        for waiting in left.into_iter().rev() {
            self.held_count += 1;
            let held = self.held.entry(waiting.room_id()).or_default();
            held.push_front(waiting);
        }
        for room_id in &batch.rooms {
            self.busy.remove(room_id);
            if locked.contains(room_id) {
                self.locked.insert(*room_id, until);
            } else {
                self.locked.remove(room_id);
                // Before what is next, which came later.
                for waiting in self.release(*room_id).into_iter().rev() {
                    self.next.push_front(waiting);
                }
            }
        }
    }

    fn hold(&mut self, waiting: Waiting) {
        if self.held_count == QUEUE {
            waiting.refuse("too many messages wait for their room");
            return;
        }
        self.held_count += 1;
        let held = self.held.entry(waiting.room_id()).or_default();
        held.push_back(waiting);
    }

    fn release(&mut self, room_id: RoomId) -> VecDeque<Waiting> {
        let released = self.held.remove(&room_id).unwrap_or_default();
        self.held_count -= released.len();
        released
    }
}
