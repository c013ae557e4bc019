//! The task that stores messages: it forms batches of what waits, and knows which rooms
//! are being stored.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_domain::{MessageExtras, RoomId};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet, yield_now};
use tokio::time::sleep_until;
use tracing::Instrument as _;

use super::admission::Admission;
use super::batch::{self, Kind, Outcome, Repeats, Stored};
use super::running_time::RunningTime;
use super::settling::{Settled, Settling};
use super::turns;
use super::{
    BATCH_BYTES, BATCH_DEADLINE, Check, Observed, PATIENCE, QUEUE, QUEUE_DEADLINE,
    REPEATS_EXPECTED_FOR, Request, Store, Waiting,
};

/// How long a locked room is kept out of regular batches, unless a batch stores it before.
const LOCKED_FOR: Duration = Duration::from_secs(10);
/// How long all lanes may be busy without storing a batch before messages are refused.
const STALLED_AFTER: Duration = Duration::from_secs(4);

/// The task's state. A lane is a store, which is either idle or busy with one batch.
pub(super) struct Committer<S, F> {
    queue: mpsc::Receiver<Request>,
    admission: Arc<Admission>,
    input: Input,
    /// What was taken from the queue and is not yet in a batch. It comes before the rest
    /// of the queue.
    next: VecDeque<Waiting>,
    checks: Vec<Check>,
    /// What waits for a room that is being stored, is locked, or is unsettled.
    held: HashMap<RoomId, VecDeque<Waiting>>,
    held_count: usize,
    /// The rooms that are being stored, or may still be stored by a batch whose outcome is
    /// unknown.
    busy: HashSet<RoomId>,
    /// The rooms that another transaction had locked, and when this is forgotten.
    locked: HashMap<RoomId, Instant>,
    /// The batches whose outcome is unknown.
    settling: Settling,
    /// Until when the ids of a batch are looked up before it is stored.
    repeats_until: Option<Instant>,
    /// What is stored and not answered yet.
    stored: Vec<Stored>,
    running: JoinSet<Done<S>>,
    batches: HashMap<Id, Batch>,
    idle: Vec<S>,
    /// What the batches are timed by. It runs while there are any.
    clock: RunningTime,
    /// When a batch ended last, or when the first one began after a pause.
    progress: Duration,
    /// Whether all lanes have been busy for too long since then.
    is_stalled: bool,
    open: F,
    observer: Observed,
}

/// Whether requests may still arrive.
#[derive(PartialEq, Eq)]
enum Input {
    Open,
    Closed,
}

/// The messages of a batch that is being formed.
struct Gathered {
    kind: Kind,
    limit: usize,
    batch: Vec<Waiting>,
    bytes: usize,
}

impl Gathered {
    fn new(kind: Kind, limit: usize) -> Self {
        Self {
            kind,
            limit,
            batch: Vec::new(),
            bytes: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= self.limit || self.bytes >= BATCH_BYTES
    }

    fn push(&mut self, waiting: Waiting) {
        let (deadline, reason) = match self.kind {
            Kind::Regular => (QUEUE_DEADLINE, "the message waited too long to be stored"),
            Kind::LeftBehind => (BATCH_DEADLINE, "another transaction has locked the room"),
        };
        if waiting.since.elapsed() > deadline {
            waiting.refuse(reason);
            return;
        }
        let extras = waiting.message.extras.as_deref();
        self.bytes += waiting.message.content.as_str().len();
        self.bytes += extras.map_or(0, MessageExtras::size);
        self.batch.push(waiting.admitted());
    }
}

/// A batch that is being stored.
struct Batch {
    rooms: HashSet<RoomId>,
    messages: usize,
    kind: Kind,
    /// When it was started, on the committer's clock.
    since: Duration,
}

impl Batch {
    fn is_stuck(&self, now: Duration) -> bool {
        self.kind == Kind::Regular && now - self.since >= STALLED_AFTER
    }
}

/// A batch that has ended, and its store.
struct Done<S> {
    store: S,
    outcome: Outcome,
}

impl<S: Store, F: Fn() -> S> Committer<S, F> {
    pub(super) fn new(
        queue: mpsc::Receiver<Request>,
        admission: Arc<Admission>,
        lanes: usize,
        open: F,
        observer: Observed,
    ) -> Self {
        Self {
            queue,
            admission,
            input: Input::Open,
            next: VecDeque::new(),
            checks: Vec::new(),
            held: HashMap::new(),
            held_count: 0,
            busy: HashSet::new(),
            locked: HashMap::new(),
            settling: Settling::default(),
            repeats_until: None,
            stored: Vec::new(),
            running: JoinSet::new(),
            batches: HashMap::new(),
            idle: std::iter::repeat_with(&open).take(lanes).collect(),
            clock: RunningTime::start(),
            progress: Duration::ZERO,
            is_stalled: false,
            open,
            observer,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.blocked_until().is_none() {
                self.start_regular();
            }
            self.start_left_behind();
            if !self.stored.is_empty() {
                // The next batch is under way before the senders of this one occupy the
                // processor, so that the database does not wait for them.
                yield_now().await;
                self.stored.drain(..).for_each(Stored::answer);
            }
            // What has just been started blocks the next batch.
            let blocked_until = self.blocked_until();
            let may_take = blocked_until.is_none() && !self.idle.is_empty();
            if self.is_finished() {
                return;
            }
            tokio::select! {
                biased;
                Some(done) = self.running.join_next_with_id() => self.finish(done),
                Some(settled) = self.settling.next() => self.settled(settled),
                received = self.queue.recv(), if may_take && self.input == Input::Open => {
                    match received {
                        Some(Request::Append(waiting)) => self.next.push_back(waiting),
                        Some(Request::Check(check)) => self.checks.push(check),
                        None => self.input = Input::Closed,
                    }
                }
                () = sleep_until(blocked_until.unwrap_or_else(Instant::now).into()),
                    if blocked_until.is_some() && !self.idle.is_empty() => {}
                () = self.clock.tick(), if !self.batches.is_empty() => self.notice_stall(),
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.input == Input::Closed
            && self.running.is_empty()
            && self.next.is_empty()
            && self.checks.is_empty()
            && self.held_count == 0
    }

    /// Returns until when the batches in progress keep others waiting, so that the others
    /// become one batch. A batch that waits for a room, or takes too long, does not.
    fn blocked_until(&mut self) -> Option<Instant> {
        let now = self.clock.now();
        let ends = self
            .batches
            .values()
            .filter_map(|batch| (batch.kind == Kind::Regular).then_some(batch.since + PATIENCE));
        let remaining = ends
            .max()?
            .checked_sub(now)
            .filter(|left| !left.is_zero())?;
        Some(Instant::now() + remaining)
    }

    /// Refuses what arrives from now on if all lanes have been busy for too long.
    fn notice_stall(&mut self) {
        if self.idle.is_empty() && self.clock.now() - self.progress >= STALLED_AFTER {
            self.is_stalled = true;
            self.admission.stall();
        }
    }

    /// Starts a batch of everything that waits, except for rooms that are being stored or
    /// are locked. If that is more than a batch, the senders take turns.
    fn start_regular(&mut self) {
        let Some(store) = self.idle.pop() else {
            return;
        };
        let limit = self.admission.batch();
        if self.next.len() + self.queue.len() > limit {
            while let Some(waiting) = self.take_from_queue() {
                self.next.push_back(waiting);
            }
            turns::bring_forward(&mut self.next, limit);
        }
        let mut gathered = Gathered::new(Kind::Regular, limit);
        while !gathered.is_full()
            && let Some(waiting) = self.next_waiting()
        {
            let room_id = waiting.room_id();
            if self.busy.contains(&room_id) || self.locked.contains_key(&room_id) {
                self.hold(waiting);
            } else {
                gathered.push(waiting);
            }
        }
        self.start(store, gathered);
    }

    fn next_waiting(&mut self) -> Option<Waiting> {
        let next = self.next.pop_front();
        next.or_else(|| self.take_from_queue())
    }

    fn take_from_queue(&mut self) -> Option<Waiting> {
        loop {
            match self.queue.try_recv().ok()? {
                Request::Append(waiting) => return Some(waiting),
                Request::Check(check) => self.checks.push(check),
            }
        }
    }

    /// Starts a batch of locked rooms, as long as a lane is left for the others.
    fn start_left_behind(&mut self) {
        if self.locked.is_empty() {
            return;
        }
        let now = Instant::now();
        let held = &self.held;
        self.locked
            .retain(|room_id, until| *until > now || held.contains_key(room_id));
        let batches = self.batches.values();
        let running = batches.filter(|batch| batch.kind == Kind::LeftBehind);
        if running.count() + 1 >= self.idle.len() + self.batches.len() {
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
        let mut gathered = Gathered::new(Kind::LeftBehind, self.admission.batch());
        for room_id in rooms {
            let mut released = self.release(room_id);
            while !gathered.is_full()
                && let Some(waiting) = released.pop_front()
            {
                gathered.push(waiting);
            }
            released.into_iter().for_each(|waiting| self.hold(waiting));
        }
        self.start(store, gathered);
    }

    fn start(&mut self, mut store: S, gathered: Gathered) {
        let Gathered { kind, batch, .. } = gathered;
        // A batch of messages that were left behind takes too long for a check.
        let checks = match kind {
            Kind::Regular => std::mem::take(&mut self.checks),
            Kind::LeftBehind => Vec::new(),
        };
        if batch.is_empty() && checks.is_empty() {
            self.idle.push(store);
            return;
        }
        let since = self.clock.now();
        let repeats = match self.repeats_until {
            Some(until) if until > Instant::now() => Repeats::Expected,
            _ => Repeats::Unexpected,
        };
        let rooms: HashSet<_> = batch.iter().map(Waiting::room_id).collect();
        let messages = batch.len();
        if self.batches.is_empty() {
            self.progress = since;
        }
        self.busy.extend(&rooms);
        let admission = self.admission.clone();
        let span = batch::span(&batch);
        let task = self.running.spawn(
            async move {
                let outcome = batch::write(&mut store, &admission, batch, kind, repeats).await;
                batch::answer_checks(&mut store, &outcome, checks).await;
                Done { store, outcome }
            }
            .instrument(span),
        );
        let batch = Batch {
            rooms,
            messages,
            kind,
            since,
        };
        self.batches.insert(task.id(), batch);
    }

    fn finish(&mut self, done: Result<(Id, Done<S>), JoinError>) {
        let (id, done) = match done {
            Ok(done) => done,
            Err(error) => {
                // Its senders get no answer, which says the same to them.
                tracing::error!(%error, "a batch panicked; whether it was stored is unknown");
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
            left_behind,
            locked,
            unsettled,
            repeats,
        } = done.outcome;
        if let Some(observer) = self.observer.get() {
            observer.stored(stored.len());
        }
        self.stored.extend(stored);
        let now = Instant::now();
        if repeats > 0 {
            self.repeats_until = Some(now + REPEATS_EXPECTED_FOR);
        }
        let Some(batch) = self.batches.remove(&id) else {
            return;
        };
        self.progress = self.clock.now();
        self.is_stalled = false;
        // Also after a panic.
        self.admission.resume();
        let took = self.progress - batch.since;
        self.admission.learn(batch.messages, took);
        // Before what was held in the meantime, which arrived later.
        for waiting in left_behind.into_iter().rev() {
            self.held_count += 1;
            let held = self.held.entry(waiting.room_id()).or_default();
            held.push_front(waiting);
        }
        let unsettled = unsettled.map(|(rooms, batch)| {
            self.settling.start(rooms.clone(), batch);
            rooms
        });
        for room_id in batch.rooms {
            if locked.contains(&room_id) {
                self.busy.remove(&room_id);
                self.locked.insert(room_id, now + LOCKED_FOR);
            } else {
                self.locked.remove(&room_id);
                let is_unsettled = unsettled
                    .as_ref()
                    .is_some_and(|rooms| rooms.contains(&room_id));
                if !is_unsettled {
                    self.free(room_id);
                }
            }
        }
    }

    fn settled(&mut self, settled: Settled) {
        match settled {
            Settled::Ended(rooms) => rooms.into_iter().for_each(|room_id| self.free(room_id)),
            Settled::Unknown(rooms) => {
                for waiting in rooms.into_iter().flat_map(|room_id| self.release(room_id)) {
                    waiting.refuse("an earlier message may still be stored");
                }
            }
        }
    }

    /// Lets the next batch contain the room.
    fn free(&mut self, room_id: RoomId) {
        self.busy.remove(&room_id);
        // Before what is next, which arrived later.
        for waiting in self.release(room_id).into_iter().rev() {
            self.next.push_front(waiting);
        }
    }

    fn hold(&mut self, mut waiting: Waiting) {
        if self.held_count == QUEUE {
            waiting.refuse("too many messages are waiting for their room");
            return;
        }
        let room_id = waiting.room_id();
        let now = self.clock.now();
        let mut batches = self.batches.values();
        if batches.any(|batch| batch.is_stuck(now) && batch.rooms.contains(&room_id)) {
            waiting.refuse("an earlier message to the room has been waiting for four seconds");
            return;
        }
        if self.locked.contains_key(&room_id) {
            // However many wait for a locked room, they keep no other message waiting.
            waiting = waiting.admitted();
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
