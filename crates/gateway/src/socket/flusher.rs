//! Writes what waits in the outboxes to their connections.
//!
//! A packet is put into an outbox and written a moment later, after everything else that
//! is ready has run: what is for one client then leaves in one write, however many packets
//! it is. In a room of a thousand this costs one write per member and burst instead of one
//! per message.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::lock;

/// How many outboxes a task writes before it yields.
const TURN: usize = 32;

/// Something that waits to be written.
pub(crate) trait Flush: Send + Sync {
    /// Writes what waits, as far as the kernel takes it.
    fn flush(&self);
}

/// A list of outboxes that have something to write, and the task that writes it.
#[derive(Default)]
pub(crate) struct Flusher {
    /// Each at most once: an outbox knows whether it is listed.
    marked: Mutex<Vec<Arc<dyn Flush>>>,
    is_marked: Notify,
}

impl Flusher {
    /// Has the outbox written soon.
    pub(super) fn mark(&self, outbox: Arc<dyn Flush>) {
        let mut marked = lock(&self.marked);
        marked.push(outbox);
        if marked.len() == 1 {
            drop(marked);
            self.is_marked.notify_one();
        }
    }

    /// Writes what is marked. Runs until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut writing = Vec::new();
        loop {
            self.is_marked.notified().await;
            // Other tasks that are ready may add to what is written.
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
    /// Returns the flusher of the next outbox.
    pub(crate) fn next(&self) -> Arc<Flusher> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.all[n % self.all.len()].clone()
    }

    /// Returns all flushers, to be run.
    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<Flusher>> + '_ {
        self.all.iter().cloned()
    }
}
