//! Waits for the end of batches whose outcome is unknown.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chat_domain::{BoxError, RoomId, one_line};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use super::Unsettled;

/// How long to wait after a failed attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// The batches whose outcome is unknown. Each is tried again until it has ended.
#[derive(Default)]
pub(super) struct Settling {
    attempts: JoinSet<Result<(), BoxError>>,
    batches: HashMap<Id, Batch>,
}

/// A batch in whose rooms nothing may be stored yet.
struct Batch {
    rooms: HashSet<RoomId>,
    unsettled: Arc<dyn Unsettled>,
}

/// The result of an attempt.
pub(super) enum Settled {
    /// The batch has ended: its rooms may be used again.
    Ended(HashSet<RoomId>),
    /// The batch may still be stored. What waits for these rooms has waited long enough.
    Unknown(Vec<RoomId>),
}

impl Settling {
    pub(super) fn start(&mut self, rooms: HashSet<RoomId>, unsettled: Arc<dyn Unsettled>) {
        self.attempt(Batch { rooms, unsettled }, Duration::ZERO);
    }

    /// Waits for the next attempt that ends. Returns `None` if there is none.
    pub(super) async fn next(&mut self) -> Option<Settled> {
        let (id, outcome) = match self.attempts.join_next_with_id().await? {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (JoinError::id(&error), Err(error.into())),
        };
        let batch = self.batches.remove(&id)?;
        let Err(error) = outcome else {
            return Some(Settled::Ended(batch.rooms));
        };
        let reason = one_line(&*error);
        tracing::debug!(%reason, "it is still unknown whether a batch is stored");
        let rooms = batch.rooms.iter().copied().collect();
        self.attempt(batch, PAUSE);
        Some(Settled::Unknown(rooms))
    }

    fn attempt(&mut self, batch: Batch, pause: Duration) {
        let unsettled = batch.unsettled.clone();
        let attempt = self.attempts.spawn(async move {
            sleep(pause).await;
            unsettled.settle().await
        });
        self.batches.insert(attempt.id(), batch);
    }
}
