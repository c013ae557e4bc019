//! Turns hints in any order into one gap-free order.

use std::collections::BTreeMap;

use crate::Seq;

/// The order in which one node shows one room's messages.
///
/// Stored messages are offered in any order, late, twice, or never; out come
/// 1, 2, 3 … from where it started, each once. Where one is missing, it says so
/// ([`missing`](Self::missing)), and whoever drives it reads the log and offers
/// what it finds there.
///
/// What waits for a missing one is bounded: beyond the limit the furthest are
/// forgotten, since the log has them too.
///
/// ```
/// use chat_domain::{RoomSequencer, Seq};
///
/// let seq = |n| Seq::new(n).expect("small");
/// let mut sequencer = RoomSequencer::start(seq(7), 100);
/// sequencer.offer(seq(9), "nine");
/// assert_eq!(sequencer.release(), None);
/// assert_eq!(sequencer.missing(), Some(seq(7)..seq(8)));
/// sequencer.offer(seq(8), "eight");
/// assert_eq!(sequencer.release(), Some((seq(8), "eight")));
/// assert_eq!(sequencer.release(), Some((seq(9), "nine")));
/// assert_eq!(sequencer.released(), seq(9));
/// ```
#[derive(Debug)]
pub struct RoomSequencer<T> {
    released: Seq,
    /// The newest position known to be stored.
    newest: Seq,
    waiting: BTreeMap<Seq, T>,
    max_waiting: usize,
}

impl<T> RoomSequencer<T> {
    /// Starts after `released`: the first to come out is the next one. At most
    /// `max_waiting` (at least 1) are kept while one before them is missing.
    pub fn start(released: Seq, max_waiting: usize) -> Self {
        Self {
            released,
            newest: released,
            waiting: BTreeMap::new(),
            max_waiting: max_waiting.max(1),
        }
    }

    /// The last position that was released (or where it started).
    pub fn released(&self) -> Seq {
        self.released
    }

    /// Takes a stored message. One that was released or is waiting already
    /// changes nothing.
    pub fn offer(&mut self, seq: Seq, item: T) {
        self.reaches(seq);
        if seq <= self.released {
            return;
        }
        self.waiting.entry(seq).or_insert(item);
        if self.waiting.len() > self.max_waiting {
            self.waiting.pop_last();
        }
    }

    /// Notes that the room's log is known to reach `newest`, so that a message
    /// whose own hint was lost is missed all the same.
    pub fn reaches(&mut self, newest: Seq) {
        self.newest = self.newest.max(newest);
    }

    /// Notes that the log holds nothing from the next position up to and including
    /// `absent`: somebody deleted those messages, and nobody waits for them.
    pub fn skip(&mut self, absent: Seq) {
        let here = self.waiting.first_key_value().map(|(&first, _)| first);
        if absent > self.released && here.is_none_or(|here| here > absent) {
            self.released = absent;
            self.reaches(absent);
        }
    }

    /// Whether the next message in order is here.
    pub fn has_next(&self) -> bool {
        let first = self.waiting.first_key_value();
        first.is_some_and(|(&first, _)| first == self.released.next())
    }

    /// The next message in order, if it is here.
    pub fn release(&mut self) -> Option<(Seq, T)> {
        let (seq, item) = self.has_next().then(|| self.waiting.pop_first())??;
        self.released = seq;
        Some((seq, item))
    }

    /// What must be read from the log before anything more can be released: the
    /// positions after the range's start, up to and including its end. `None`
    /// while the next one is here, or nothing newer is known.
    pub fn missing(&self) -> Option<std::ops::Range<Seq>> {
        let end = match self.waiting.first_key_value() {
            Some(_) if self.has_next() => return None,
            Some((&first, _)) => Seq::new(first.get() - 1).unwrap_or(self.released),
            None => self.newest,
        };
        (end > self.released).then_some(self.released..end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn drain(sequencer: &mut RoomSequencer<u64>) -> Vec<u64> {
        std::iter::from_fn(|| sequencer.release())
            .map(|(at, item)| {
                assert_eq!(at.get(), item);
                item
            })
            .collect()
    }

    #[test]
    fn a_lost_last_hint_is_missing_once_the_log_is_known_to_reach_it() {
        let mut sequencer = RoomSequencer::<u64>::start(seq(3), 10);
        assert_eq!(sequencer.missing(), None);
        sequencer.reaches(seq(5));
        assert_eq!(sequencer.missing(), Some(seq(3)..seq(5)));
    }

    #[test]
    fn what_was_released_never_comes_again() {
        let mut sequencer = RoomSequencer::start(seq(0), 10);
        sequencer.offer(seq(1), 1);
        assert_eq!(drain(&mut sequencer), [1]);
        sequencer.offer(seq(1), 1);
        assert_eq!(drain(&mut sequencer), [0; 0]);
        assert_eq!(sequencer.missing(), None);
    }

    #[test]
    fn beyond_its_bound_it_forgets_the_furthest_and_asks_the_log() {
        let mut sequencer = RoomSequencer::start(seq(0), 2);
        for n in [5, 4, 3, 2] {
            sequencer.offer(seq(n), n);
        }
        assert_eq!(sequencer.missing(), Some(seq(0)..seq(1)));
        sequencer.offer(seq(1), 1);
        // 4 and 5 were forgotten; 3 gave way to 1, which can go out.
        assert_eq!(drain(&mut sequencer), [1, 2]);
        assert_eq!(sequencer.missing(), Some(seq(2)..seq(5)));
    }

    #[test]
    fn what_the_log_no_longer_holds_is_not_waited_for() {
        let mut sequencer = RoomSequencer::start(seq(0), 10);
        sequencer.offer(seq(4), 4);
        sequencer.skip(seq(5));
        assert_eq!(sequencer.released(), seq(0), "4 is here");
        sequencer.skip(seq(3));
        assert_eq!(drain(&mut sequencer), [4]);
        sequencer.skip(seq(2));
        assert_eq!(sequencer.released(), seq(4));
    }

    proptest! {
        /// Whatever is shuffled, doubled and dropped: everything comes out once,
        /// in order, when the log is read where it asks for it.
        #[test]
        fn any_hints_give_one_order(
            start in 0u64..50,
            length in 0u64..300,
            max_waiting in 1usize..40,
            hints in prop::collection::vec((0u64..400, 0usize..4), 0..600),
        ) {
            let end = start + length;
            let mut sequencer = RoomSequencer::start(seq(start), max_waiting);
            let mut out = Vec::new();
            for (hint, reads) in hints {
                if (1..=end).contains(&hint) {
                    sequencer.offer(seq(hint), hint);
                }
                out.extend(drain(&mut sequencer));
                // Now and then, one page of the log is read.
                if reads == 0 && let Some(gap) = sequencer.missing() {
                    prop_assert_eq!(gap.start, sequencer.released());
                    for n in gap.start.get() + 1..=gap.end.get().min(gap.start.get() + 7) {
                        sequencer.offer(seq(n), n);
                        out.extend(drain(&mut sequencer));
                    }
                }
            }
            sequencer.reaches(seq(end));
            while let Some(gap) = sequencer.missing() {
                prop_assert!(gap.start < gap.end && gap.end.get() <= end);
                for n in gap.start.get() + 1..=gap.end.get() {
                    sequencer.offer(seq(n), n);
                    out.extend(drain(&mut sequencer));
                }
            }
            prop_assert_eq!(out, (start + 1..=end).collect::<Vec<_>>());
        }
    }
}
