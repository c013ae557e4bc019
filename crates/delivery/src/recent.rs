//! The messages that a room released last.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use chat_domain::Seq;
use tokio::time::Instant;

use crate::batch::Batch;
use crate::encoder::Frame;

/// How much a room keeps per member, in bytes, and at most; rooms with few members keep
/// nothing.
const BYTES_PER_MEMBER: usize = 1024;
const MAX_BYTES: usize = 1024 * 1024;
const FEW_MEMBERS: usize = 16;
/// For how long a message is served from here. A node is not notified when a message loses its author
/// because a user is erased; such an erasure is over later than this.
const MAX_AGE: Duration = Duration::from_secs(10);

/// The last messages of a room with many members, so that members that fall behind
/// together do not all read the log.
pub(crate) struct Recent {
    /// Everything that was released after this position is here.
    after: Seq,
    frames: VecDeque<(Seq, Frame)>,
    /// The end of each batch of them, and when it was released.
    ends: VecDeque<(Seq, Instant)>,
    bytes: usize,
}

impl Recent {
    /// Creates an empty record: nothing has been released after this position yet.
    pub(crate) fn start(after: Seq) -> Self {
        Self {
            after,
            frames: VecDeque::new(),
            ends: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Records a batch that was released to this many members.
    pub(crate) fn record(&mut self, batch: &Batch, members: usize) {
        if members < FEW_MEMBERS {
            *self = Self::start(batch.end());
            return;
        }
        for (seq, frame) in batch.iter() {
            self.bytes += frame.bytes.len();
            self.frames.push_back((seq, frame));
        }
        self.ends.push_back((batch.end(), Instant::now()));
        self.forget_old();
        let bound = (members * BYTES_PER_MEMBER).min(MAX_BYTES);
        while self.bytes > bound
            && let Some((seq, frame)) = self.frames.pop_front()
        {
            self.bytes -= frame.bytes.len();
            self.after = seq;
        }
        let after = self.after;
        while self.ends.pop_front_if(|(end, _)| *end <= after).is_some() {}
    }

    /// Forgets what was released too long ago.
    fn forget_old(&mut self) {
        while let Some((end, _)) = self
            .ends
            .pop_front_if(|(_, released)| released.elapsed() >= MAX_AGE)
        {
            self.forget_up_to(end);
        }
    }

    /// Forgets the messages up to one that has changed: they are kept as they were released, and
    /// what was deleted must not be served any more.
    pub(crate) fn forget_up_to(&mut self, changed: Seq) {
        while let Some((seq, frame)) = self.frames.pop_front_if(|(seq, _)| *seq <= changed) {
            self.bytes -= frame.bytes.len();
            self.after = seq;
        }
    }

    /// Returns what was released in the range (after its start, up to and including its
    /// end), at most `limit` messages; `None` if only the log knows.
    pub(crate) fn within(&mut self, range: &Range<Seq>, limit: usize) -> Option<Vec<(Seq, Frame)>> {
        self.forget_old();
        if range.start < self.after {
            return None;
        }
        let start = self.frames.partition_point(|(seq, _)| *seq <= range.start);
        let known = self.frames.range(start..);
        let known = known.take_while(|(seq, _)| *seq <= range.end);
        Some(known.take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chat_domain::{Rev, RoomSequencer};

    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn batch(numbers: Range<u64>) -> Batch {
        let mut sequencer = RoomSequencer::start(seq(numbers.start - 1), usize::MAX);
        for n in numbers {
            let (bytes, rev) = (Bytes::from(format!("{n:0128}")), Rev::START);
            sequencer.offer(seq(n), Frame { bytes, rev });
        }
        Batch::release(&mut sequencer).unwrap()
    }

    #[test]
    fn messages_up_to_one_that_has_changed_are_read_from_the_log() {
        let mut recent = Recent::start(seq(0));
        recent.record(&batch(1..9), FEW_MEMBERS);
        recent.forget_up_to(seq(4));
        assert!(recent.within(&(seq(3)..seq(8)), 10).is_none());
        let known = recent.within(&(seq(4)..seq(8)), 10).unwrap();
        assert_eq!((known.len(), recent.bytes), (4, 4 * 128));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_were_released_long_ago_are_read_from_the_log() {
        let mut recent = Recent::start(seq(0));
        recent.record(&batch(1..5), FEW_MEMBERS);
        tokio::time::advance(MAX_AGE / 2).await;
        recent.record(&batch(5..9), FEW_MEMBERS);
        assert!(recent.within(&(seq(0)..seq(8)), 10).is_some());
        tokio::time::advance(MAX_AGE / 2).await;
        assert!(recent.within(&(seq(3)..seq(8)), 10).is_none());
        let known = recent.within(&(seq(4)..seq(8)), 10).unwrap();
        assert_eq!((known.len(), recent.bytes), (4, 4 * 128));
    }

    #[test]
    fn recent_messages_are_kept_within_a_bound() {
        let mut recent = Recent::start(seq(4));
        recent.record(&batch(5..9), FEW_MEMBERS);
        assert!(recent.within(&(seq(3)..seq(8)), 10).is_none());
        let mut numbers = |range, limit| -> Vec<u64> {
            let known = recent.within(&range, limit).unwrap();
            known.iter().map(|(seq, _)| seq.get()).collect()
        };
        assert_eq!(numbers(seq(4)..seq(8), 10), [5, 6, 7, 8]);
        assert_eq!(numbers(seq(5)..seq(7), 10), [6, 7]);
        assert_eq!(numbers(seq(4)..seq(8), 2), [5, 6]);
        assert!(numbers(seq(8)..seq(8), 2).is_empty());

        for start in 0..100 {
            recent.record(&batch(9 + start * 100..109 + start * 100), FEW_MEMBERS);
        }
        assert_eq!(recent.bytes, FEW_MEMBERS * BYTES_PER_MEMBER);
        assert_eq!(recent.frames.len() * 128, recent.bytes);
        assert!(recent.within(&(seq(4)..seq(8)), 10).is_none());
        let after = recent.after;
        assert!(recent.within(&(after..seq(20_000)), 10).is_some());
    }

    #[test]
    fn a_room_with_many_members_keeps_at_most_1_mib() {
        let mut recent = Recent::start(seq(0));
        for start in 0..100 {
            recent.record(&batch(1 + start * 100..101 + start * 100), 5000);
        }
        assert_eq!(recent.bytes, 1_048_576);
    }

    #[test]
    fn a_room_with_few_members_keeps_nothing() {
        let mut recent = Recent::start(seq(0));
        recent.record(&batch(1..9), FEW_MEMBERS);
        recent.record(&batch(9..11), FEW_MEMBERS - 1);
        assert!(recent.frames.is_empty() && recent.after == seq(10));
    }
}
