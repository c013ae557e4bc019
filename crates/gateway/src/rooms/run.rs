//! Messages that are shown together, and those that were shown last.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use chat_domain::{Seq, StoredMessage};

use crate::socket::objects::message_json;
use crate::socket::packet::Packet;

/// The most messages, and about the most bytes, that are shown in one run.
const MAX_MESSAGES: usize = 128;
const MAX_BYTES: usize = 64 * 1024;
/// How much of what was shown last a room keeps for each member, in bytes; rooms with
/// few members keep nothing.
const RECENT_BYTES_A_MEMBER: usize = 1024;
const MAX_RECENT_BYTES: usize = 1024 * 1024;
const FEW: usize = 16;

/// A message as everybody gets it.
pub(super) fn new_message(message: &StoredMessage) -> Packet {
    Packet::event_of_json("newMessage", message.encoded(message_json))
}

/// Messages that follow each other, in one piece.
pub(super) struct Run {
    seqs: Vec<Seq>,
    packets: Vec<Packet>,
    frames: Bytes,
}

impl Run {
    /// What is next, as far as it is here; `None` if nothing is.
    pub(super) fn of(next: impl FnMut() -> Option<(Seq, Packet)>) -> Option<Self> {
        let (mut seqs, mut packets, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (seq, packet) in std::iter::from_fn(next) {
            bytes += packet.frame().len();
            seqs.push(seq);
            packets.push(packet);
            if seqs.len() == MAX_MESSAGES || bytes >= MAX_BYTES {
                break;
            }
        }
        let frames = match &packets[..] {
            [] => return None,
            [one] => one.frame().clone(),
            many => {
                let mut frames = BytesMut::with_capacity(bytes);
                for packet in many {
                    frames.extend_from_slice(packet.frame());
                }
                frames.freeze()
            }
        };
        Some(Self {
            seqs,
            packets,
            frames,
        })
    }

    /// The position of the last message.
    pub(super) fn last(&self) -> Seq {
        self.seqs.last().copied().unwrap_or_default()
    }

    /// What comes after the cursor: packets, and their frames in one piece.
    pub(super) fn after(&self, cursor: Seq) -> (&[Packet], Bytes) {
        let seen = self.seqs.partition_point(|seq| *seq <= cursor);
        let (before, after) = self.packets.split_at(seen);
        let start: usize = before.iter().map(|packet| packet.frame().len()).sum();
        (after, self.frames.slice(start..))
    }
}

/// What was shown last in a room of many: members that fall behind together do not all
/// read the log for it.
pub(super) struct Recent {
    /// Everything that was shown after this is here.
    after: Seq,
    packets: VecDeque<(Seq, Packet)>,
    bytes: usize,
}

impl Recent {
    /// Nothing has been shown after this position yet.
    pub(super) fn start(after: Seq) -> Self {
        Self {
            after,
            packets: VecDeque::new(),
            bytes: 0,
        }
    }

    /// These were shown to so many members.
    pub(super) fn note(&mut self, run: &Run, members: usize) {
        let most = match members {
            ..FEW => 0,
            members => (members * RECENT_BYTES_A_MEMBER).min(MAX_RECENT_BYTES),
        };
        if most == 0 {
            *self = Self::start(run.last());
            return;
        }
        for (seq, packet) in run.seqs.iter().zip(&run.packets) {
            self.bytes += packet.frame().len();
            self.packets.push_back((*seq, packet.clone()));
        }
        while self.bytes > most
            && let Some((seq, packet)) = self.packets.pop_front()
        {
            self.bytes -= packet.frame().len();
            self.after = seq;
        }
    }

    /// What was shown within the range (after its start, up to and including its end),
    /// `limit` at the most; `None` if it is not known.
    pub(super) fn within(&self, range: &Range<Seq>, limit: usize) -> Option<Vec<(Seq, Packet)>> {
        if range.start < self.after {
            return None;
        }
        let start = self.packets.partition_point(|(seq, _)| *seq <= range.start);
        let known = self.packets.range(start..);
        let known = known.take_while(|(seq, _)| *seq <= range.end);
        Some(known.take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn run(numbers: Range<u64>) -> Run {
        let mut numbers = numbers.into_iter();
        let next = || {
            let n = numbers.next()?;
            Some((seq(n), Packet::event("newMessage", &n)))
        };
        Run::of(next).unwrap()
    }

    #[test]
    fn a_run_is_its_packets_in_one_piece() {
        let run = run(5..9);
        assert_eq!(run.last(), seq(8));
        for (cursor, count) in [(0, 4), (4, 4), (6, 2), (7, 1), (8, 0), (9, 0)] {
            let (packets, frames) = run.after(seq(cursor));
            assert_eq!(packets.len(), count, "after {cursor}");
            let one_by_one: Vec<u8> = packets.iter().flat_map(|p| p.frame().to_vec()).collect();
            assert_eq!(frames[..], one_by_one[..], "after {cursor}");
        }
        assert!(Run::of(|| None).is_none());
    }

    #[test]
    fn a_run_has_an_end() {
        assert_eq!(run(1..1000).last(), seq(MAX_MESSAGES as u64));
    }

    #[test]
    fn what_was_shown_last_is_kept_within_bounds() {
        let mut recent = Recent::start(seq(4));
        recent.note(&run(5..9), FEW);
        assert!(recent.within(&(seq(3)..seq(8)), 10).is_none());
        let numbers = |range, limit| -> Vec<u64> {
            let known = recent.within(&range, limit).unwrap();
            known.iter().map(|(seq, _)| seq.get()).collect()
        };
        assert_eq!(numbers(seq(4)..seq(8), 10), [5, 6, 7, 8]);
        assert_eq!(numbers(seq(5)..seq(7), 10), [6, 7]);
        assert_eq!(numbers(seq(4)..seq(8), 2), [5, 6]);
        assert!(numbers(seq(8)..seq(8), 2).is_empty());

        for start in 0..100 {
            recent.note(&run(9 + start * 100..109 + start * 100), FEW);
        }
        assert!(recent.bytes <= FEW * RECENT_BYTES_A_MEMBER);
        assert!(recent.within(&(seq(4)..seq(8)), 10).is_none());
        assert!(recent.within(&(recent.after..seq(20_000)), 10).is_some());

        recent.note(&run(20_000..20_002), FEW - 1);
        assert!(recent.packets.is_empty() && recent.after == seq(20_001));
    }
}
