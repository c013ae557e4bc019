//! The order in which one room's messages are shown, from before it is known how far
//! the room has come.

use std::ops::Range;

use chat_domain::{RoomSequencer, Seq};

use super::Frame;

/// How many messages of one room wait for a missing one; the log has them too.
const MAX_WAITING: usize = 1024;

/// How far a room has come on this node, and what is next.
pub(super) enum Order {
    /// Nobody has come in yet: how far the room has come is being read, and hints
    /// are kept.
    Unknown(Vec<(Seq, Frame)>),
    From(RoomSequencer<Frame>),
}

impl Order {
    /// Starts after the newest position; early hints are kept.
    pub(super) fn start(&mut self, newest: Seq) {
        if let Self::Unknown(early) = self {
            let mut sequencer = RoomSequencer::start(newest, MAX_WAITING);
            for (seq, frame) in std::mem::take(early) {
                sequencer.offer(seq, frame);
            }
            *self = Self::From(sequencer);
        }
    }

    /// Takes a stored message.
    pub(super) fn offer(&mut self, seq: Seq, frame: Frame) {
        match self {
            Self::From(sequencer) => sequencer.offer(seq, frame),
            // Beyond the bound a hint is lost, and the comparison finds it.
            Self::Unknown(early) if early.len() < MAX_WAITING => early.push((seq, frame)),
            Self::Unknown(_) => {}
        }
    }

    /// Notes that the log is known to reach a position.
    pub(super) fn reaches(&mut self, newest: Seq) {
        if let Self::From(sequencer) = self {
            sequencer.reaches(newest);
        }
    }

    /// The last position that was shown.
    pub(super) fn released(&self) -> Seq {
        match self {
            Self::From(sequencer) => sequencer.released(),
            Self::Unknown(_) => Seq::START,
        }
    }

    /// What must be read from the log.
    pub(super) fn missing(&self) -> Option<Range<Seq>> {
        match self {
            Self::From(sequencer) => sequencer.missing(),
            Self::Unknown(_) => None,
        }
    }
}
