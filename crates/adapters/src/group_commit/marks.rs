//! The task that moves read pointers: it combines the marks of each pointer, and moves
//! many pointers at once.
//!
//! Of the marks of one pointer that are combined, the first one that asked for the
//! position that the pointer reached is the one that moved it: every move is reported
//! once.

use std::collections::BTreeMap;
use std::time::Instant;

use chat_domain::ports::MarkedRead;
use chat_domain::{Generation, RoomId, StorageError, UserId};
use tokio::sync::{mpsc, oneshot};

use super::error::BatchError;
use super::halves::{Item, in_halves};
use super::{BATCH, Mark, QUEUE, QUEUE_DEADLINE, Store, StoreError};

/// A mark that waits to be stored, and the way to answer its caller.
pub(super) struct PendingMark {
    since: Instant,
    mark: Mark,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Option<MarkedRead>, StorageError>>;

impl PendingMark {
    pub(super) fn new(mark: Mark, answer: Answer) -> Self {
        Self {
            since: Instant::now(),
            mark,
            answer,
        }
    }
}

/// The marks of one pointer, in their order.
#[derive(Default)]
struct Pointer(Vec<PendingMark>);

/// Pointers in the order in which every store locks them.
type Pointers = BTreeMap<(RoomId, UserId, Generation), Pointer>;

/// Moves pointers until the queue is closed and empty.
pub(super) async fn run<S: Store>(mut queue: mpsc::Receiver<PendingMark>, open: impl Fn() -> S) {
    let mut idle = open();
    while let Some(first) = queue.recv().await {
        let pointers = gather(first, &mut queue);
        let mut store = idle;
        // In a task of its own, because a store may panic.
        let moving = tokio::spawn(async move {
            in_halves(&mut store, pointers.into_values().collect()).await;
            store
        });
        idle = moving.await.unwrap_or_else(|error| {
            tracing::error!(%error, "read marks panicked; whether they were stored is unknown");
            open()
        });
    }
}

/// Takes what waits, up to the size of a batch.
fn gather(first: PendingMark, queue: &mut mpsc::Receiver<PendingMark>) -> Pointers {
    let mut pointers = Pointers::new();
    let mut next = Some(first);
    let mut taken = 0;
    while let Some(pending) = next {
        taken += 1;
        if pending.since.elapsed() > QUEUE_DEADLINE {
            let reason = "the read mark waited too long to be stored";
            pending
                .answer
                .send(Err(StorageError::unavailable(reason)))
                .ok();
        } else {
            let mark = &pending.mark;
            let key = (mark.room_id, mark.user_id.clone(), mark.generation);
            pointers.entry(key).or_default().0.push(pending);
        }
        next = match pointers.len() < BATCH && taken < QUEUE {
            true => queue.try_recv().ok(),
            false => None,
        };
    }
    pointers
}

impl Pointer {
    /// Returns the mark with the largest position.
    fn combined(&self) -> Option<Mark> {
        let largest = self.0.iter().max_by_key(|pending| pending.mark.position);
        largest.map(|pending| pending.mark.clone())
    }
}

impl<S: Store> Item<S> for Pointer {
    type Outcome = Option<MarkedRead>;

    async fn carry_out(store: &mut S, pointers: &[Self]) -> Result<Vec<Self::Outcome>, StoreError> {
        let marks: Vec<_> = pointers.iter().filter_map(Self::combined).collect();
        store.mark(&marks).await
    }

    fn answer(self, outcome: Result<Self::Outcome, &BatchError>) {
        let mut is_reported = false;
        for pending in self.0 {
            let answer = match outcome {
                Ok(marked) => Ok(marked.map(|marked| {
                    let is_far_enough = pending.mark.position >= marked.state.read;
                    let moved = marked.moved && !is_reported && is_far_enough;
                    is_reported |= moved;
                    MarkedRead { moved, ..marked }
                })),
                Err(error) => Err(error.to_storage_error()),
            };
            // The caller may have stopped waiting.
            pending.answer.send(answer).ok();
        }
    }
}
