//! The messages that this run has sent to one room, and how many members have received
//! each.

use std::num::NonZeroU64;

/// One message. Thirty-two bytes, because a run may send millions.
#[derive(Debug)]
pub(super) struct Message {
    /// In nanoseconds on the load test's clock.
    pub(super) due: u64,
    /// The number that the server assigned, as of the first delivery.
    pub(super) seq: Option<NonZeroU64>,
    pub(super) sender: u32,
    /// The members that must receive it.
    pub(super) members: u32,
    /// The members that have received it.
    pub(super) received: u32,
    pub(super) answer: Answer,
}

/// How the server has answered a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    None,
    /// It has arrived at its sender: by the wire contract, it is stored.
    Acknowledged,
    /// It is not stored, and must reach no member.
    Refused,
    /// It may be stored: it must reach either every member or none.
    OutcomeUnknown,
    /// Not at all, because the sender's connection was lost: it may be stored.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Room {
    /// The connections that have joined and were not lost.
    pub(super) members: u32,
    /// In the order in which they were sent.
    pub(super) log: Vec<Message>,
    /// The messages before this place have been audited.
    pub(super) audited: usize,
}

impl Message {
    /// Returns whether the members must receive it, as far as it is known.
    pub(super) fn must_arrive(&self) -> bool {
        match self.answer {
            Answer::None | Answer::Acknowledged => true,
            Answer::Refused => false,
            Answer::OutcomeUnknown | Answer::Lost => self.received > 0,
        }
    }

    /// Returns the number of members that have not received it but must.
    pub(super) fn missing(&self) -> u64 {
        match self.must_arrive() {
            true => u64::from(self.members - self.received),
            false => 0,
        }
    }
}
