//! Messages that are handed over together.

use std::cell::Cell;

use bytes::Bytes;
use chat_domain::{Rev, RoomSequencer, Seq};

use crate::encoder::Frame;

/// The maximum number of messages in a batch, and the approximate maximum of bytes.
const MAX_MESSAGES: usize = 128;
const MAX_BYTES: usize = 64 * 1024;

/// Consecutive messages, as one piece of bytes.
pub(crate) struct Batch {
    start: Seq,
    end: Seq,
    /// The position of each message, and where its frame ends.
    ends: Vec<(Seq, usize)>,
    frames: Bytes,
    /// The newest change that a message of it shows.
    shown: Rev,
    /// How many members were handed all of it.
    whole: Cell<usize>,
    /// How many messages the other members were handed.
    in_part: Cell<usize>,
}

impl Batch {
    /// Releases messages from the sequencer until there are none or the batch is full;
    /// `None` if there are none.
    pub(crate) fn release(sequencer: &mut RoomSequencer<Frame>) -> Option<Self> {
        let start = sequencer.released();
        let (mut ends, mut parts, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut shown = Rev::START;
        while let Some((seq, frame)) = sequencer.release() {
            bytes += frame.bytes.len();
            shown = shown.max(frame.rev);
            ends.push((seq, bytes));
            parts.push(frame.bytes);
            if ends.len() == MAX_MESSAGES || bytes >= MAX_BYTES {
                break;
            }
        }
        if parts.is_empty() {
            return None;
        }
        Some(Self {
            start,
            end: sequencer.released(),
            ends,
            frames: join(&parts),
            shown,
            whole: Cell::new(0),
            in_part: Cell::new(0),
        })
    }

    /// Returns the position before the first message.
    pub(crate) fn start(&self) -> Seq {
        self.start
    }

    /// Returns the position up to which the batch is complete: that of the last message, or
    /// of deleted ones behind it.
    pub(crate) fn end(&self) -> Seq {
        self.end
    }

    /// Returns the newest change that a message of the batch shows.
    pub(crate) fn shown(&self) -> Rev {
        self.shown
    }

    /// Returns the number of messages.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns how many times one of the messages was handed to a member.
    pub(crate) fn deliveries(&self) -> usize {
        self.whole.get() * self.len() + self.in_part.get()
    }

    /// Notes that a member was handed the messages after the cursor.
    pub(crate) fn delivered_after(&self, cursor: Seq) {
        if cursor <= self.start {
            self.whole.set(self.whole.get() + 1);
        } else {
            let count = self.len() - self.seen(cursor);
            self.in_part.set(self.in_part.get() + count);
        }
    }

    /// Returns how many messages are not after the cursor.
    fn seen(&self, cursor: Seq) -> usize {
        self.ends.partition_point(|(seq, _)| *seq <= cursor)
    }

    /// Returns the frames of the messages after the cursor.
    pub(crate) fn after(&self, cursor: Seq) -> Bytes {
        let start = self
            .seen(cursor)
            .checked_sub(1)
            .map_or(0, |last| self.ends[last].1);
        self.frames.slice(start..)
    }

    /// Returns each message's position and frame, with the newest change that any of them shows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Seq, Frame)> + '_ {
        let mut start = 0;
        self.ends.iter().map(move |(seq, end)| {
            let bytes = self.frames.slice(start..*end);
            let rev = self.shown;
            start = *end;
            (*seq, Frame { bytes, rev })
        })
    }
}

/// Joins frames into one piece. A single frame is not copied.
pub(crate) fn join(frames: &[Bytes]) -> Bytes {
    match frames {
        [single] => single.clone(),
        _ => frames.concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn batch(numbers: Range<u64>, frame: impl Fn(u64) -> String) -> Batch {
        let mut sequencer = RoomSequencer::start(seq(numbers.start - 1), usize::MAX);
        for n in numbers {
            let (bytes, rev) = (Bytes::from(frame(n)), Rev::START);
            sequencer.offer(seq(n), Frame { bytes, rev });
        }
        Batch::release(&mut sequencer).unwrap()
    }

    #[test]
    fn a_batch_holds_its_frames_in_one_piece() {
        let batch = batch(8..12, |n| format!("<{n}>"));
        assert_eq!((batch.start(), batch.end()), (seq(7), seq(11)));
        for (cursor, frames) in [
            (0, "<8><9><10><11>"),
            (7, "<8><9><10><11>"),
            (9, "<10><11>"),
            (10, "<11>"),
            (11, ""),
            (12, ""),
        ] {
            assert_eq!(batch.after(seq(cursor)), frames, "after {cursor}");
            batch.delivered_after(seq(cursor));
        }
        assert_eq!(batch.deliveries(), 4 + 4 + 2 + 1);
        let parts: Vec<_> = batch
            .iter()
            .map(|(seq, frame)| (seq, frame.bytes))
            .collect();
        assert_eq!(parts[0], (seq(8), Bytes::from("<8>")));
        assert_eq!(parts[3], (seq(11), Bytes::from("<11>")));
        assert!(Batch::release(&mut RoomSequencer::start(seq(7), 1)).is_none());
    }

    #[test]
    fn a_single_frame_is_not_copied() {
        let frame = Bytes::from("<1>".to_owned());
        assert_eq!(join(std::slice::from_ref(&frame)).as_ptr(), frame.as_ptr());
    }

    #[test]
    fn the_size_of_a_batch_is_bounded() {
        let many = batch(1..1000, |_| "x".to_owned());
        assert_eq!(many.end(), seq(MAX_MESSAGES as u64));
        let large = batch(1..1000, |_| "x".repeat(20_000));
        assert_eq!(large.end(), seq(4));
    }
}
