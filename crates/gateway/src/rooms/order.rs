//! The order in which one room's messages are shown, from before it is known how far
//! the room has come.

use std::ops::Range;

use chat_domain::{Message, RoomSequencer, Seq, StoredMessage};

use super::PAGE;
use super::run::{Recent, Run, new_message};
use crate::socket::packet::Packet;

/// How many messages of one room wait for a missing one; the log has them too.
const MAX_WAITING: usize = 1024;

/// How far a room has come on this node, and what is next.
pub(super) enum Order {
    /// Nobody has come in yet: how far the room has come is being read, and hints
    /// are kept.
    Unknown(Vec<(Seq, Packet)>),
    From(RoomSequencer<Packet>, Recent),
}

impl Order {
    /// Starts after the newest position; early hints are kept.
    pub(super) fn start(&mut self, newest: Seq) {
        if let Self::Unknown(early) = self {
            let mut sequencer = RoomSequencer::start(newest, MAX_WAITING);
            for (seq, packet) in std::mem::take(early) {
                sequencer.offer(seq, packet);
            }
            *self = Self::From(sequencer, Recent::start(newest));
        }
    }

    /// Takes a stored message.
    pub(super) fn offer(&mut self, message: &StoredMessage) {
        let seq = message.seq;
        match self {
            Self::From(sequencer, _) if seq > sequencer.released() => {
                sequencer.offer(seq, new_message(message));
            }
            // Beyond the bound a hint is lost, and the comparison finds it.
            Self::Unknown(early) if early.len() < MAX_WAITING => {
                early.push((seq, new_message(message)));
            }
            _ => {}
        }
    }

    /// Takes a page of the log, which was read where the messages up to `end` were
    /// missing. Messages are numbered in the order of their commits: a number that the
    /// page leaps over, or does not reach though it is the last one, was deleted. As
    /// long as something before it is to be shown it stays missing, and is asked for
    /// again.
    pub(super) fn fill(&mut self, end: Seq, page: Vec<Message>) {
        let Self::From(sequencer, _) = self else {
            return;
        };
        let is_last = page.len() < PAGE;
        let mut next = sequencer.released().next();
        for message in page {
            if message.seq > next {
                sequencer.skip(message.seq.before());
            }
            next = message.seq.next();
            sequencer.offer(message.seq, new_message(&message.into()));
        }
        if is_last && next <= end {
            sequencer.skip(end);
        }
    }

    /// Notes that the log is known to reach a position.
    pub(super) fn reaches(&mut self, newest: Seq) {
        if let Self::From(sequencer, _) = self {
            sequencer.reaches(newest);
        }
    }

    /// Whether something can be shown.
    pub(super) fn has_next(&self) -> bool {
        match self {
            Self::From(sequencer, _) => sequencer.has_next(),
            Self::Unknown(_) => false,
        }
    }

    /// What is to be shown next, to so many members.
    pub(super) fn next_run(&mut self, members: usize) -> Option<Run> {
        let Self::From(sequencer, recent) = self else {
            return None;
        };
        let run = Run::of(|| sequencer.release())?;
        recent.note(&run, members);
        Some(run)
    }

    /// What was shown within the range, `limit` at the most; `None` if only the log
    /// knows.
    pub(super) fn recent(&self, range: &Range<Seq>, limit: usize) -> Option<Vec<(Seq, Packet)>> {
        match self {
            Self::From(_, recent) => recent.within(range, limit),
            Self::Unknown(_) => None,
        }
    }

    /// The last position that was shown, or is about to be to everybody who is in the
    /// room now.
    pub(super) fn released(&self) -> Seq {
        match self {
            Self::From(sequencer, _) => sequencer.released(),
            Self::Unknown(_) => Seq::START,
        }
    }

    /// What must be read from the log.
    pub(super) fn missing(&self) -> Option<Range<Seq>> {
        match self {
            Self::From(sequencer, _) => sequencer.missing(),
            Self::Unknown(_) => None,
        }
    }
}
