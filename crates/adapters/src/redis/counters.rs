//! What has been exchanged, counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chat_domain::ports::{HintsStatus, LostHints};

/// The numbers of a [`HintsStatus`], as they change.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) is_connected: AtomicBool,
    pub(super) connections: Counter,
    pub(super) published: Counter,
    pub(super) received: Counter,
    pub(super) lost_disconnected: Counter,
    pub(super) lost_queue_full: Counter,
    pub(super) lost_unconfirmed: Counter,
    pub(super) invalid: Counter,
}

/// A number that only grows.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn status(&self) -> HintsStatus {
        HintsStatus {
            is_connected: self.is_connected.load(Ordering::Relaxed),
            connections: self.connections.get(),
            published: self.published.get(),
            received: self.received.get(),
            lost: LostHints {
                disconnected: self.lost_disconnected.get(),
                queue_full: self.lost_queue_full.get(),
                unconfirmed: self.lost_unconfirmed.get(),
            },
            invalid: self.invalid.get(),
        }
    }
}
