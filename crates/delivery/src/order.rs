//! The order in which one room's messages are released, from before the room's newest
//! position is known.

use std::ops::Range;

use chat_domain::ports::LogPage;
use chat_domain::{RoomSequencer, Seq, StoredMessage};

use crate::batch::Batch;
use crate::encoder::{Encoder, Frame};
use crate::recent::Recent;

/// How many messages of one room may wait for a missing one; the log has them too.
const MAX_WAITING: usize = 1024;

/// How far a room has come on this node, and what comes next.
pub(crate) enum Order {
    /// No connection has joined yet: the room's newest position is being read, and what is
    /// learnt meanwhile is kept.
    Unknown {
        /// The messages that hints brought.
        early: Vec<(Seq, Frame)>,
        /// The newest position that the log is known to reach.
        newest: Seq,
    },
    /// The room's messages are released in order.
    Known(RoomSequencer<Frame>, Recent),
}

impl Default for Order {
    fn default() -> Self {
        Self::Unknown {
            early: Vec::new(),
            newest: Seq::START,
        }
    }
}

impl Order {
    /// Starts after the newest position, with the hints that arrived meanwhile.
    pub(crate) fn start(&mut self, newest: Seq) {
        if let Self::Unknown {
            early,
            newest: reached,
        } = self
        {
            let mut sequencer = RoomSequencer::start(newest, MAX_WAITING);
            for (seq, frame) in std::mem::take(early) {
                sequencer.offer(seq, frame);
            }
            sequencer.reaches(*reached);
            *self = Self::Known(sequencer, Recent::start(newest));
        }
    }

    /// Takes a message that a hint brought.
    pub(crate) fn offer(&mut self, message: &StoredMessage, encoder: &dyn Encoder) {
        let seq = message.seq();
        match self {
            Self::Known(sequencer, _) if seq > sequencer.released() => {
                sequencer.offer(seq, Frame::new(message, encoder));
            }
            Self::Unknown { early, .. } if early.len() < MAX_WAITING => {
                early.push((seq, Frame::new(message, encoder)));
            }
            // Beyond the bound, the log has the message.
            Self::Unknown { newest, .. } => *newest = seq.max(*newest),
            Self::Known(..) => {}
        }
    }

    /// Takes a page of the log, read after a position at which messages were missing.
    pub(crate) fn fill(&mut self, after: Seq, page: LogPage, encoder: &dyn Encoder) {
        if let Self::Known(sequencer, _) = self {
            sequencer.fill(after, page, |message| Frame::logged(message, &[], encoder));
        }
    }

    /// Takes the newest position of a log that did not contain what was missing.
    pub(crate) fn forget_beyond(&mut self, newest: Seq) {
        if let Self::Known(sequencer, _) = self {
            sequencer.forget_beyond(newest);
        }
    }

    /// Notes that the log reaches a position. Returns whether a room that is known was not
    /// known to reach it.
    pub(crate) fn reaches(&mut self, newest: Seq) -> bool {
        match self {
            Self::Known(sequencer, _) => sequencer.reaches(newest),
            Self::Unknown {
                newest: reached, ..
            } => {
                *reached = newest.max(*reached);
                false
            }
        }
    }

    /// Returns whether a message can be released.
    pub(crate) fn has_next(&self) -> bool {
        match self {
            Self::Known(sequencer, _) => sequencer.has_next(),
            Self::Unknown { .. } => false,
        }
    }

    /// Returns whether a message is known that is not released.
    pub(crate) fn is_waiting(&self) -> bool {
        match self {
            Self::Known(sequencer, _) => !sequencer.is_complete(),
            Self::Unknown { early, .. } => !early.is_empty(),
        }
    }

    /// Releases the next messages, to this many members.
    pub(crate) fn next_batch(&mut self, members: usize) -> Option<Batch> {
        let Self::Known(sequencer, recent) = self else {
            return None;
        };
        let batch = Batch::release(sequencer)?;
        recent.record(&batch, members);
        Some(batch)
    }

    /// Forgets what was released up to a message that has changed.
    pub(crate) fn forget_recent(&mut self, changed: Seq) {
        if let Self::Known(_, recent) = self {
            recent.forget_up_to(changed);
        }
    }

    /// Returns what was released in the range, at most `limit` messages; `None` if only the
    /// log knows.
    pub(crate) fn recent(&mut self, range: &Range<Seq>, limit: usize) -> Option<Vec<(Seq, Frame)>> {
        match self {
            Self::Known(_, recent) => recent.within(range, limit),
            Self::Unknown { .. } => None,
        }
    }

    /// Returns the last released position. Every member has the message, is about to be
    /// handed it, or has fallen behind.
    pub(crate) fn released(&self) -> Seq {
        match self {
            Self::Known(sequencer, _) => sequencer.released(),
            Self::Unknown { .. } => Seq::START,
        }
    }

    /// Returns what must be read from the log.
    pub(crate) fn missing(&self) -> Option<Range<Seq>> {
        match self {
            Self::Known(sequencer, _) => sequencer.missing(),
            Self::Unknown { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use chat_domain::{Message, ReactionKey, RoomId, StoredChange, UserId};

    use super::*;

    /// An encoder that records what it encodes.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<u64>>);

    impl Recorder {
        fn record(&self, seq: Seq) -> Bytes {
            self.0.lock().unwrap().push(seq.get());
            Bytes::from_static(b"x")
        }

        fn encoded(&self) -> Vec<u64> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    impl Encoder for Recorder {
        fn message(&self, message: &StoredMessage) -> Bytes {
            self.record(message.seq())
        }

        fn logged_message(&self, message: Message, _: &[ReactionKey]) -> Bytes {
            self.record(message.seq)
        }

        fn changed_message(
            &self,
            _: RoomId,
            _: chat_domain::ChangedMessage,
            _: bool,
            _: &[ReactionKey],
        ) -> Bytes {
            unreachable!("nothing changes")
        }

        fn read_pointer(&self, _: RoomId, _: &UserId, seq: Seq) -> Bytes {
            self.record(seq)
        }

        fn typing(&self, _: RoomId, _: &chat_domain::User, _: bool) -> Bytes {
            unreachable!("a signal has no place in the order")
        }

        fn rules_change(&self, _: &StoredChange) -> Bytes {
            unreachable!("a change of rules has no place in the order")
        }
    }

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn message(n: u64) -> StoredMessage {
        StoredMessage::new(seq(n), "".into())
    }

    #[test]
    fn a_repeated_hint_for_a_released_message_is_not_encoded() {
        let encoder = Recorder::default();
        let mut order = Order::default();
        order.start(seq(4));
        for n in [4, 5] {
            order.offer(&message(n), &encoder);
        }
        assert_eq!(order.next_batch(1).map(|batch| batch.end()), Some(seq(5)));
        order.offer(&message(5), &encoder);
        assert_eq!(encoder.encoded(), [5]);
        assert!(!order.has_next());
    }

    #[test]
    fn a_bounded_number_of_hints_is_kept_until_the_newest_position_is_known() {
        let encoder = Recorder::default();
        let mut order = Order::default();
        let bound = MAX_WAITING as u64;
        for n in 1..=bound + 2 {
            order.offer(&message(n), &encoder);
        }
        assert_eq!(encoder.encoded(), (1..=bound).collect::<Vec<_>>());
        order.start(seq(0));
        while order.next_batch(1).is_some() {}
        assert_eq!(order.released(), seq(bound));
        // What was not kept is read.
        assert_eq!(order.missing(), Some(seq(bound)..seq(bound + 2)));
    }

    #[test]
    fn a_room_whose_newest_position_is_unknown_releases_nothing() {
        let mut order = Order::default();
        order.offer(&message(1), &Recorder::default());
        order.reaches(seq(9));
        assert!(!order.has_next() && order.next_batch(1).is_none());
        assert_eq!((order.released(), order.missing()), (Seq::START, None));
        // It is known that the log reaches 9, whatever the first read saw.
        order.start(seq(0));
        assert_eq!(order.next_batch(1).map(|batch| batch.end()), Some(seq(1)));
        assert_eq!(order.missing(), Some(seq(1)..seq(9)));
    }
}
