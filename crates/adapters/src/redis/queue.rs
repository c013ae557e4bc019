//! The hints that wait for the server.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chat_domain::RoomEntry;
use chat_domain::ports::Hint;

/// How many hints may wait, and how many bytes of them.
const MAX_HINTS: usize = 16_384;
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// What a hint costs beside the encoding of its message.
const HINT_BYTES: usize = 64;

/// Hints that wait for the server, in the order of their announcement. Bounded: what is
/// announced beyond the bound is lost, because the oldest ones are about to leave.
///
/// It is closed while the server is not connected, because a hint that waits for long is
/// worth nothing: meanwhile, the other nodes find in the log what it says.
#[derive(Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    is_open: bool,
    hints: Vec<Hint>,
    bytes: usize,
}

/// What became of an announced hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Waits,
    /// It is lost: the queue is closed.
    Closed,
    /// It is lost: too many wait.
    Full,
}

impl Queue {
    /// Adds a hint.
    pub(super) fn push(&self, hint: Hint) -> Pushed {
        let bytes = HINT_BYTES
            + match &hint.entry {
                RoomEntry::Message(message) => message.encoded().len(),
                RoomEntry::ReadPointer { user_id, .. } => user_id.as_str().len(),
                RoomEntry::Typing(signal) => {
                    signal.user.id.as_str().len() + signal.user.name.as_str().len()
                }
                RoomEntry::Rules { change, .. } => change.encoded().len(),
                RoomEntry::Changes { .. } | RoomEntry::Closed => 0,
            };
        let mut state = self.lock();
        if !state.is_open {
            return Pushed::Closed;
        }
        if state.hints.len() >= MAX_HINTS || state.bytes + bytes > MAX_BYTES {
            return Pushed::Full;
        }
        state.bytes += bytes;
        state.hints.push(hint);
        Pushed::Waits
    }

    /// Takes everything that waits.
    pub(super) fn take(&self) -> Vec<Hint> {
        let mut state = self.lock();
        state.bytes = 0;
        std::mem::take(&mut state.hints)
    }

    /// From now on, hints wait.
    pub(super) fn open(&self) {
        self.lock().is_open = true;
    }

    /// From now on, hints are lost. Returns how many were waiting, which are lost as well.
    pub(super) fn close(&self) -> usize {
        self.lock().is_open = false;
        self.take().len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chat_domain::{Generation, RoomId, Seq, StoredMessage};

    use super::*;

    fn hint(bytes: usize) -> Hint {
        Hint {
            room_id: RoomId::new(1).unwrap(),
            generation: Generation::FIRST,
            entry: RoomEntry::Message(Arc::new(StoredMessage::new(
                Seq::START,
                "x".repeat(bytes).into(),
            ))),
        }
    }

    /// Pushes hints of this size until one is lost, and returns how many wait.
    fn fill(queue: &Queue, bytes: usize) -> usize {
        while queue.push(hint(bytes)) == Pushed::Waits {}
        assert_eq!(queue.push(hint(bytes)), Pushed::Full);
        queue.take().len()
    }

    #[test]
    fn the_number_of_hints_and_their_bytes_are_bounded() {
        let queue = Queue::default();
        queue.open();
        assert_eq!(fill(&queue, 1), MAX_HINTS);
        assert_eq!(fill(&queue, 16_000), MAX_BYTES / (16_000 + HINT_BYTES));
        // What was taken makes space.
        assert_eq!(queue.push(hint(1)), Pushed::Waits);
    }

    #[test]
    fn nothing_waits_while_the_server_is_not_connected() {
        let queue = Queue::default();
        assert_eq!(queue.push(hint(1)), Pushed::Closed);
        queue.open();
        assert_eq!(queue.push(hint(1)), Pushed::Waits);
        assert_eq!(queue.close(), 1);
        assert_eq!(queue.push(hint(1)), Pushed::Closed);
        queue.open();
        assert!(queue.take().is_empty());
    }
}
