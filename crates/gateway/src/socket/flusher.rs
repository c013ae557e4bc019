//! Who writes what waits in the outboxes to the connections.
//!
//! A packet is put into an outbox and written a moment later, after everything else
//! that is ready has run: what is for one client then goes out in one write, however
//! many packets it is. That costs a room of a thousand one write for each member and
//! burst, not one for each message.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

use super::outbox::Outbox;
use crate::lock;

/// How many outboxes are written in one turn of a task.
const TURN: usize = 32;

/// A list of outboxes with something to write, and the task that writes it.
#[derive(Default)]
pub(crate) struct Flusher {
    /// Each at most once: an outbox knows whether it is here.
    marked: Mutex<Vec<Arc<Outbox>>>,
    is_marked: Notify,
}

impl Flusher {
    /// Has the outbox written, soon.
    pub(super) fn mark(&self, outbox: Arc<Outbox>) {
        let mut marked = lock(&self.marked);
        marked.push(outbox);
        if marked.len() == 1 {
            drop(marked);
            self.is_marked.notify_one();
        }
    }

    /// Writes, for ever.
    async fn run(self: Arc<Self>) {
        let mut writing = Vec::new();
        loop {
            self.is_marked.notified().await;
            // Whoever is ready goes first, and may add to what is written.
            yield_now().await;
            std::mem::swap(&mut writing, &mut *lock(&self.marked));
            for (n, outbox) in writing.drain(..).enumerate() {
                if n % TURN == TURN - 1 {
                    yield_now().await;
                }
                outbox.flush();
            }
        }
    }
}

/// As many flushers as there are processors.
pub(crate) struct Flushers {
    all: Box<[Arc<Flusher>]>,
    next: AtomicUsize,
}

impl Default for Flushers {
    fn default() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            all: (0..count).map(|_| Arc::default()).collect(),
            next: AtomicUsize::new(0),
        }
    }
}

impl Flushers {
    /// The flusher of the next outbox.
    pub(crate) fn next(&self) -> Arc<Flusher> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.all[n % self.all.len()].clone()
    }

    /// Starts them; they end when the set is dropped.
    pub(crate) fn start(&self) -> JoinSet<()> {
        self.all
            .iter()
            .map(|flusher| flusher.clone().run())
            .collect()
    }
}
