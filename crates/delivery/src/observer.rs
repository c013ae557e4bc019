//! What is reported about deliveries, for example to metrics.

use std::time::Instant;

/// Observes what is delivered on this node. The calls must not block: some are made under a
/// room's lock.
pub trait Observer: Send + Sync + 'static {
    /// Called when messages that a room released together have been handed to all members
    /// that keep up.
    fn handed_out(&self, batch: HandedOut);

    /// Called when one member was handed messages that were read for it alone.
    fn caught_up(&self, why: Why, messages: usize);

    /// Called when a comparison with the log found messages that no hint had announced.
    fn found_difference(&self);
}

/// A batch that has been handed out.
#[derive(Debug, Clone, Copy)]
pub struct HandedOut {
    /// The number of messages.
    pub messages: usize,
    /// How many times one of them was handed to a member.
    pub deliveries: usize,
    /// When the first of them was announced; `None` if it was found in the log.
    pub announced: Option<Instant>,
}

/// Why messages are read for one member alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It has fallen behind.
    Behind,
    /// It joins and asked for what it missed.
    Replay,
}

/// Observes nothing.
impl Observer for () {
    fn handed_out(&self, _: HandedOut) {}

    fn caught_up(&self, _: Why, _: usize) {}

    fn found_difference(&self) {}
}
