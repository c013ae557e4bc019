//! Which messages may wait to be stored: no more than can be stored soon, and of each user
//! no more than a fair share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chat_domain::UserId;

use super::{BATCH, QUEUE};

/// How long a message may be expected to wait for its answer.
const WAIT: Duration = Duration::from_millis(1500);
/// How long a batch should take at most, because everything else waits for it.
const BATCH_TIME: Duration = Duration::from_millis(250);
/// The size to which a batch is reduced at most.
const SMALLEST_BATCH: usize = 16;
/// From this size on, batches count fully for the estimate of what batches take.
const REPRESENTATIVE_BATCH: f64 = 64.0;
/// How much an earlier batch counts for the pace of the database, relative to the next one.
const DECAY: f64 = 0.8;

const BEHIND: &str = "more messages are waiting than can be stored soon";
const STALLED: &str = "the database has not answered for four seconds";

/// Counts the messages that wait.
///
/// The next batch is open to all. Of what waits beyond that, each
/// user may have the same share: what is stored within [`WAIT`], divided by the users who
/// have such messages. The heaviest senders are therefore the first to be refused, at once.
#[derive(Default)]
pub(super) struct Admission(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: usize,
    /// The messages of each user that came when a whole batch was waiting already.
    crowd: HashMap<UserId, usize>,
    pace: Pace,
    is_stalled: bool,
}

/// A message's place among those that wait; dropped when it no longer waits.
pub(super) struct Place {
    admission: Arc<Admission>,
    /// The user in whose share the message is.
    share: Option<UserId>,
}

impl Admission {
    /// Returns a place for one more message of the user, or why there is none.
    pub(super) fn enter(self: &Arc<Self>, user_id: &UserId) -> Result<Place, &'static str> {
        let mut state = self.state();
        let share = state.admit(user_id)?;
        state.waiting += 1;
        drop(state);
        Ok(Place {
            admission: self.clone(),
            share,
        })
    }

    /// Notes how long a batch of this size took.
    pub(super) fn learn(&self, messages: usize, took: Duration) {
        if messages > 0 {
            self.state().pace.add(messages, took);
        }
    }

    /// Refuses everything until the database has answered.
    pub(super) fn stall(&self) {
        self.state().is_stalled = true;
    }

    /// Notes that the database has answered.
    pub(super) fn resume(&self) {
        self.state().is_stalled = false;
    }

    /// Returns how many messages the next batch may have.
    pub(super) fn batch(&self) -> usize {
        self.state().pace.batch()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change can be interrupted by a panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&mut self, user_id: &UserId) -> Result<Option<UserId>, &'static str> {
        if self.is_stalled {
            return Err(STALLED);
        }
        let batch = self.pace.batch();
        if self.waiting < batch {
            return Ok(None);
        }
        let most = self.pace.within(WAIT).clamp(batch, QUEUE - batch);
        let has = self.crowd.get(user_id).copied();
        let users = self.crowd.len() + usize::from(has.is_none());
        let share = ((most - batch) / users).max(1);
        // A new user is admitted although the others have taken everything.
        if has.unwrap_or(0) >= share || self.waiting >= most + batch {
            return Err(BEHIND);
        }
        *self.crowd.entry(user_id.clone()).or_default() += 1;
        Ok(Some(user_id.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.waiting -= 1;
        let Some(user_id) = self.share.take() else {
            return;
        };
        if let Some(count) = state.crowd.get_mut(&user_id) {
            *count -= 1;
            if *count == 0 {
                state.crowd.remove(&user_id);
            }
        }
        if state.crowd.is_empty() {
            state.crowd = HashMap::new();
        }
    }
}

/// How long batches take, by the latest of them: a fixed time and a time for each message,
/// as the line through the batches has them. Small batches count less: they say little about
/// large ones.
#[derive(Default)]
struct Pace {
    weight: f64,
    messages: f64,
    secs: f64,
    messages_squared: f64,
    messages_times_secs: f64,
}

/// What a batch takes.
struct Cost {
    fixed_secs: f64,
    secs_per_message: f64,
}

impl Pace {
    fn add(&mut self, messages: usize, took: Duration) {
        let weight = (messages as f64 / REPRESENTATIVE_BATCH).min(1.0);
        let decay = DECAY.powf(weight);
        let (messages, secs) = (messages as f64, took.as_secs_f64());
        for (sum, value) in [
            (&mut self.weight, 1.0),
            (&mut self.messages, messages),
            (&mut self.secs, secs),
            (&mut self.messages_squared, messages * messages),
            (&mut self.messages_times_secs, messages * secs),
        ] {
            *sum = *sum * decay + weight * value;
        }
    }

    fn cost(&self) -> Cost {
        let (size, secs) = (self.messages / self.weight, self.secs / self.weight);
        let spread = self.messages_squared / self.weight - size * size;
        let slope = (self.messages_times_secs / self.weight - size * secs) / spread;
        let secs_per_message = if spread > 0.01 * size * size {
            slope.clamp(0.0, secs / size)
        } else if size < REPRESENTATIVE_BATCH {
            0.0
        } else {
            // All had the same size. If this is too much, the next ones are smaller and show it.
            secs / size
        };
        Cost {
            fixed_secs: secs - secs_per_message * size,
            secs_per_message,
        }
    }

    /// Returns how many messages a batch may have to end in [`BATCH_TIME`]. If the fixed time
    /// takes most of that, it is as many as possible.
    fn batch(&self) -> usize {
        if self.weight == 0.0 {
            return BATCH;
        }
        let Cost {
            fixed_secs,
            secs_per_message,
        } = self.cost();
        let left = BATCH_TIME.as_secs_f64() - fixed_secs;
        if left < BATCH_TIME.as_secs_f64() / 2.0 {
            return BATCH;
        }
        // Dividing by zero gives infinity, which is clamped as well.
        ((left / secs_per_message) as usize).clamp(SMALLEST_BATCH, BATCH)
    }

    /// Returns how many messages may wait so that the last of them is stored in time: it
    /// waits for the batch in progress, for those before it, and for its own.
    fn within(&self, time: Duration) -> usize {
        if self.weight == 0.0 {
            return QUEUE;
        }
        let cost = self.cost();
        let batch = self.batch() as f64;
        let secs = cost.fixed_secs + cost.secs_per_message * batch;
        let batches = (time.as_secs_f64() - 2.0 * secs) / secs.max(1e-9);
        (batch * batches.max(0.0)) as usize
    }
}
