//! The order in which one room's messages are released, from before the room's newest
//! position is known.

use std::ops::Range;

use bytes::Bytes;
use chat_domain::ports::LogPage;
use chat_domain::{RoomSequencer, Seq, StoredMessage};

use crate::batch::Batch;
use crate::encoder::Encoder;
use crate::recent::Recent;

/// How many messages of one room may wait for a missing one; the log has them too.
const MAX_WAITING: usize = 1024;

/// How far a room has come on this node, and what comes next.
pub(crate) enum Order {
    /// No connection has joined yet: the room's newest position is being read, and hints
    /// are kept meanwhile.
    Unknown(Vec<(Seq, Bytes)>),
    /// The room's messages are released in order.
    Known(RoomSequencer<Bytes>, Recent),
}

impl Order {
    /// Starts after the newest position, with the hints that arrived meanwhile.
    pub(crate) fn start(&mut self, newest: Seq) {
        if let Self::Unknown(early) = self {
            let mut sequencer = RoomSequencer::start(newest, MAX_WAITING);
            for (seq, frame) in std::mem::take(early) {
                sequencer.offer(seq, frame);
            }
            *self = Self::Known(sequencer, Recent::start(newest));
        }
    }

    /// Takes a message that a hint brought.
    pub(crate) fn offer(&mut self, message: &StoredMessage, encoder: &dyn Encoder) {
        let seq = message.seq;
        match self {
            Self::Known(sequencer, _) if seq > sequencer.released() => {
                sequencer.offer(seq, encoder.message(message));
            }
            // Beyond the bound a hint is lost, and reconciliation finds the message.
            Self::Unknown(early) if early.len() < MAX_WAITING => {
                early.push((seq, encoder.message(message)));
            }
            _ => {}
        }
    }

    /// Takes a page of the log, read after a position at which messages were missing.
    pub(crate) fn fill(&mut self, after: Seq, page: LogPage, encoder: &dyn Encoder) {
        if let Self::Known(sequencer, _) = self {
            sequencer.fill(after, page, |message| encoder.logged_message(message));
        }
    }

    /// Notes that the log reaches a position.
    pub(crate) fn reaches(&mut self, newest: Seq) {
        if let Self::Known(sequencer, _) = self {
            sequencer.reaches(newest);
        }
    }

    /// Returns whether a message can be released.
    pub(crate) fn has_next(&self) -> bool {
        match self {
            Self::Known(sequencer, _) => sequencer.has_next(),
            Self::Unknown(_) => false,
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

    /// Returns what was released in the range, at most `limit` messages; `None` if only the
    /// log knows.
    pub(crate) fn recent(&self, range: &Range<Seq>, limit: usize) -> Option<Vec<(Seq, Bytes)>> {
        match self {
            Self::Known(_, recent) => recent.within(range, limit),
            Self::Unknown(_) => None,
        }
    }

    /// Returns the last released position. Every member has the message, is about to be
    /// handed it, or has fallen behind.
    pub(crate) fn released(&self) -> Seq {
        match self {
            Self::Known(sequencer, _) => sequencer.released(),
            Self::Unknown(_) => Seq::START,
        }
    }

    /// Returns what must be read from the log.
    pub(crate) fn missing(&self) -> Option<Range<Seq>> {
        match self {
            Self::Known(sequencer, _) => sequencer.missing(),
            Self::Unknown(_) => None,
        }
    }
}
