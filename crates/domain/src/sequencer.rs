//! Turns hints in any order into one gap-free order, and determines which messages are
//! absent from the log.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{Message, Seq, ports::LogPage};

/// The order in which one node releases one room's messages.
///
/// Stored messages are offered in any order, late, repeatedly, or never. They are released
/// as 1, 2, 3 … from the starting position, each exactly once. Where one is missing, the
/// sequencer states so ([`missing`](Self::missing)); the caller reads the log and passes
/// the page to [`fill`](Self::fill).
///
/// The number of messages that wait for a missing one is bounded. Beyond the bound, the
/// furthest are dropped, since the log has them too.
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
    /// Every stored message after `released` and up to here is in `waiting`. What is
    /// neither was deleted.
    complete_to: Seq,
    /// The newest position known to be stored.
    newest: Seq,
    waiting: BTreeMap<Seq, T>,
    max_waiting: usize,
}

impl<T> RoomSequencer<T> {
    /// Creates a sequencer that releases the messages after `released`. While one of them
    /// is missing, at most `max_waiting` (at least 1) of those behind it are kept.
    pub fn start(released: Seq, max_waiting: usize) -> Self {
        Self {
            released,
            complete_to: released,
            newest: released,
            waiting: BTreeMap::new(),
            max_waiting: max_waiting.max(1),
        }
    }

    /// Returns the last released position, or the starting position.
    pub fn released(&self) -> Seq {
        self.released
    }

    /// Takes a stored message. One that was already released or is already waiting changes
    /// nothing.
    pub fn offer(&mut self, seq: Seq, item: T) {
        self.reaches(seq);
        if seq <= self.released {
            return;
        }
        self.waiting.entry(seq).or_insert(item);
        if self.waiting.len() > self.max_waiting
            && let Some((dropped, _)) = self.waiting.pop_last()
        {
            self.complete_to = self.complete_to.min(dropped.before());
        }
    }

    /// Notes that the room's log reaches `newest`, so that a message is known to be
    /// missing even if its own hint was lost. Returns whether that was not known.
    pub fn reaches(&mut self, newest: Seq) -> bool {
        let is_new = newest > self.newest;
        self.newest = self.newest.max(newest);
        is_new
    }

    /// Takes a page of the log that was read after the position `after`, which must not
    /// be beyond the released position; `encode` turns each message into what is released.
    ///
    /// A message that the page should contain and does not contain was deleted, and is no
    /// longer waited for; see [`LogPage::complete_to`].
    pub fn fill(&mut self, after: Seq, page: LogPage, mut encode: impl FnMut(Message) -> T) {
        // A page from further on says nothing about what comes before it.
        let complete_to = match after <= self.released {
            true => page.complete_to(),
            false => self.complete_to,
        };
        self.complete_to = self.complete_to.max(complete_to);
        self.reaches(complete_to);
        for message in page.messages {
            if message.seq > self.released {
                self.offer(message.seq, encode(message));
            }
        }
        self.pass_absent();
    }

    /// Takes the newest position of a log that was read for what is missing and did not contain
    /// it. What was offered beyond is forgotten. Either its position was wrong, and waiting for
    /// what precedes it would never end; or the read was not fresh, and the log brings it
    /// later.
    pub fn forget_beyond(&mut self, newest: Seq) {
        let newest = newest.max(self.released);
        self.waiting.split_off(&newest.next());
        self.newest = self.newest.min(newest);
        self.complete_to = self.complete_to.min(newest);
    }

    /// Returns whether [`release`](Self::release) would return a message.
    pub fn has_next(&self) -> bool {
        let first = self.waiting.first_key_value();
        first.is_some_and(|(&first, _)| first.before() <= self.released.max(self.complete_to))
    }

    /// Releases the next message in order, if it is available.
    pub fn release(&mut self) -> Option<(Seq, T)> {
        let (seq, item) = self.has_next().then(|| self.waiting.pop_first())??;
        self.released = seq;
        self.pass_absent();
        Some((seq, item))
    }

    /// Returns whether everything that is known to be stored has been released.
    pub fn is_complete(&self) -> bool {
        self.newest <= self.released
    }

    /// Returns what must be read from the log before anything more can be released: the
    /// positions after the range's start, up to and including its end. `None` while the
    /// next message is available, or nothing newer is known.
    pub fn missing(&self) -> Option<Range<Seq>> {
        if self.has_next() {
            return None;
        }
        let first = self.waiting.first_key_value();
        let end = first.map_or(self.newest, |(first, _)| first.before());
        (end > self.released).then_some(self.released..end)
    }

    /// Moves past deleted messages that nothing available follows.
    fn pass_absent(&mut self) {
        if !self.has_next() {
            self.released = self.released.max(self.complete_to);
        }
    }
}

// Here rather than beside the type: only this file concludes that a message is absent.
impl LogPage {
    /// Returns the position up to which a page read with
    /// [`after`](crate::ports::MessageRepository::after) is complete: it contains every
    /// stored message from its start up to here, so one that it lacks was deleted.
    ///
    /// A page that was cut short is complete up to its last message. Otherwise the
    /// freshness of the read decides: a read that did not see the room's newest position
    /// says nothing about it, however empty it is.
    pub fn complete_to(&self) -> Seq {
        let last = self.messages.last().map_or(Seq::START, |last| last.seq);
        match self.has_more {
            true => last,
            false => last.max(self.newest),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{Content, DisplayName, MessageId, NewMessage, RoomId, Timestamp, User, UserId};

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    /// A page with these messages, of a log whose newest position is `newest`.
    fn page(numbers: impl IntoIterator<Item = u64>, has_more: bool, newest: u64) -> LogPage {
        let message = |n| {
            NewMessage {
                extras: None,
                room_id: RoomId::new(1).unwrap(),
                author: User {
                    id: UserId::new("42").unwrap(),
                    name: DisplayName::from_text("Ada"),
                },
                content: Content::new("hello").unwrap(),
                client_message_id: None,
                created_at: Timestamp::from_unix_millis(0),
                rules: crate::RulesNumber::NONE,
            }
            .stored(MessageId::new(1), seq(n))
        };
        LogPage {
            messages: numbers.into_iter().map(message).collect(),
            has_more,
            newest: seq(newest),
            generation: crate::Generation::FIRST,
        }
    }

    fn fill(sequencer: &mut RoomSequencer<u64>, after: u64, page: LogPage) {
        sequencer.fill(seq(after), page, |message| message.seq.get());
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
    fn a_released_message_is_never_released_again() {
        let mut sequencer = RoomSequencer::start(seq(0), 10);
        sequencer.offer(seq(1), 1);
        assert_eq!(drain(&mut sequencer), [1]);
        sequencer.offer(seq(1), 1);
        fill(&mut sequencer, 0, page([1], false, 1));
        assert_eq!(drain(&mut sequencer), [0; 0]);
        assert_eq!(sequencer.missing(), None);
    }

    #[test]
    fn beyond_its_bound_it_drops_the_furthest_and_asks_for_the_log() {
        let mut sequencer = RoomSequencer::start(seq(0), 2);
        for n in [5, 4, 3, 2] {
            sequencer.offer(seq(n), n);
        }
        assert_eq!(sequencer.missing(), Some(seq(0)..seq(1)));
        sequencer.offer(seq(1), 1);
        assert_eq!(drain(&mut sequencer), [1, 2], "3 gave way to 1");
        assert_eq!(sequencer.missing(), Some(seq(2)..seq(5)));
    }

    #[test]
    fn what_was_dropped_from_a_complete_page_is_not_taken_for_deleted() {
        let mut sequencer = RoomSequencer::start(seq(0), 2);
        fill(&mut sequencer, 0, page(1..=5, false, 5));
        assert_eq!(drain(&mut sequencer), [1, 2]);
        assert_eq!(sequencer.missing(), Some(seq(2)..seq(5)));
    }

    #[test]
    fn what_the_log_does_not_reach_is_forgotten_and_found_later() {
        let mut sequencer = RoomSequencer::start(seq(3), 10);
        sequencer.offer(seq(9_007_199_254_740_991), 0);
        sequencer.offer(seq(5), 0);
        assert_eq!(sequencer.missing(), Some(seq(3)..seq(4)));
        sequencer.forget_beyond(seq(3));
        assert_eq!(sequencer.missing(), None);
        sequencer.forget_beyond(seq(2));
        assert_eq!(sequencer.released(), seq(3));
        for n in [4, 5] {
            sequencer.offer(seq(n), n);
        }
        assert_eq!(drain(&mut sequencer), [4, 5]);
    }

    #[test]
    fn a_page_that_was_complete_is_read_again_if_a_part_of_it_was_forgotten() {
        let mut sequencer = RoomSequencer::start(seq(0), 10);
        fill(&mut sequencer, 0, page([1, 2, 3], false, 3));
        assert_eq!(sequencer.release().map(|(at, _)| at), Some(seq(1)));
        sequencer.forget_beyond(seq(2));
        assert_eq!(drain(&mut sequencer), [2]);
        sequencer.reaches(seq(3));
        assert_eq!(sequencer.missing(), Some(seq(2)..seq(3)));
    }

    #[test]
    fn deleted_messages_are_not_waited_for() {
        let mut sequencer = RoomSequencer::start(seq(0), 10);
        sequencer.offer(seq(4), 4);
        fill(&mut sequencer, 0, page([2, 4], false, 6));
        assert_eq!(drain(&mut sequencer), [2, 4], "1 and 3 were deleted");
        assert_eq!(sequencer.released(), seq(6), "5 and 6 were deleted");
        assert_eq!(sequencer.missing(), None);
    }

    #[test]
    fn a_read_that_is_not_fresh_enough_does_not_prove_a_deletion() {
        let mut sequencer = RoomSequencer::start(seq(0), 10);
        sequencer.reaches(seq(3));
        fill(&mut sequencer, 0, page([1], false, 1));
        assert_eq!(drain(&mut sequencer), [1]);
        assert_eq!(sequencer.missing(), Some(seq(1)..seq(3)));
        fill(&mut sequencer, 1, page([], false, 3));
        assert_eq!(sequencer.released(), seq(3));
    }

    #[test]
    fn a_page_that_was_cut_short_is_complete_up_to_its_last_message() {
        let mut sequencer = RoomSequencer::start(seq(0), 10);
        sequencer.reaches(seq(9));
        fill(&mut sequencer, 0, page([2, 3], true, 9));
        assert_eq!(drain(&mut sequencer), [2, 3]);
        assert_eq!(sequencer.missing(), Some(seq(3)..seq(9)));
    }

    #[test]
    fn a_page_from_further_on_proves_nothing_about_what_precedes_it() {
        let mut sequencer = RoomSequencer::start(seq(0), 10);
        fill(&mut sequencer, 2, page([3], false, 3));
        assert_eq!(drain(&mut sequencer), [0; 0]);
        assert_eq!(sequencer.missing(), Some(seq(0)..seq(2)));
    }

    #[test]
    fn a_message_that_was_released_during_a_read_is_not_encoded_again() {
        let mut sequencer = RoomSequencer::start(seq(0), 10);
        sequencer.offer(seq(1), 1);
        assert_eq!(drain(&mut sequencer), [1]);
        let mut encoded = Vec::new();
        sequencer.fill(seq(0), page([1, 2], false, 2), |message| {
            encoded.push(message.seq.get());
            message.seq.get()
        });
        assert_eq!(encoded, [2]);
        assert_eq!(drain(&mut sequencer), [2]);
    }

    proptest! {
        /// Whatever is shuffled, duplicated, dropped and deleted: everything that is
        /// stored is released once, in order, when the log is read where the sequencer
        /// asks for it, however stale some of the reads are.
        #[test]
        fn any_hints_give_one_order(
            start in 0u64..50,
            length in 0u64..300,
            deleted in prop::collection::btree_set(0u64..400, 0..60),
            max_waiting in 1usize..40,
            hints in prop::collection::vec((0u64..400, 0usize..4, 0u64..400), 0..600),
        ) {
            let end = start + length;
            let stored: BTreeSet<u64> =
                (start + 1..=end).filter(|n| !deleted.contains(n)).collect();
            let read = |after: u64, fresh_to: u64| {
                let mut found: Vec<u64> = stored.range(after + 1..).copied()
                    .take_while(|n| *n <= fresh_to).take(8).collect();
                let has_more = found.len() == 8;
                found.truncate(7);
                page(found, has_more, fresh_to)
            };
            let mut sequencer = RoomSequencer::start(seq(start), max_waiting);
            let mut out = Vec::new();
            for (hint, reads, fresh_to) in hints {
                if stored.contains(&hint) {
                    sequencer.offer(seq(hint), hint);
                }
                out.extend(drain(&mut sequencer));
                if reads == 0 && let Some(gap) = sequencer.missing() {
                    prop_assert_eq!(gap.start, sequencer.released());
                    let fresh_to = fresh_to.min(end);
                    fill(&mut sequencer, gap.start.get(), read(gap.start.get(), fresh_to));
                    out.extend(drain(&mut sequencer));
                }
            }
            sequencer.reaches(seq(end));
            // Each read of what is stored now makes progress.
            let mut reads = 0;
            while let Some(gap) = sequencer.missing() {
                reads += 1;
                prop_assert!(reads <= length, "{gap:?} is still missing");
                prop_assert!(gap.start < gap.end && gap.end.get() <= end);
                fill(&mut sequencer, gap.start.get(), read(gap.start.get(), end));
                out.extend(drain(&mut sequencer));
            }
            prop_assert_eq!(out, stored.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(sequencer.released(), seq(end));
        }
    }
}
