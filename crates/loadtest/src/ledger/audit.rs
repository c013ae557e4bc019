//! Attributes refusals to messages, and counts what never arrived.
//!
//! A server of the founding contract does not say which message it refuses. It can only be
//! one that its sender had sent before and that has reached no member. A refusal without
//! such a message is a refused message that was delivered.

use std::collections::{BTreeMap, VecDeque};

use super::Ledger;
use super::room::{Answer, Room};
use super::view::View;

/// A refused message, before it is known which one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) sender: u32,
    /// The room, if the server named it or the sender has only one.
    pub(super) room: Option<usize>,
    /// It was sent before the message at this place of the room's log.
    pub(super) before: u32,
    pub(super) answer: Answer,
}

/// What the messages of the run should have caused, and what did not happen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Audit {
    /// The deliveries that must arrive.
    pub(crate) expected: u64,
    pub(crate) missing: u64,
}

/// The messages that were neither answered nor received, by sender and room.
type Open = BTreeMap<(u32, usize), VecDeque<u32>>;

impl Ledger {
    /// Attributes the refusals, and counts messages that were sent since the previous call
    /// and not answered. Deliveries that are missing count as the slowest of the measured
    /// interval: they have taken until `now`, and longer than those that arrived.
    pub(crate) fn close_accounts(&mut self, now: u64) {
        self.attribute_refusals();
        let mut missing = Vec::new();
        for room in &mut self.rooms {
            for message in &room.log[room.audited..] {
                if message.answer == Answer::None {
                    self.counts.unanswered += 1;
                }
                if message.missing() > 0 && self.measured.contains(&message.due) {
                    missing.push((now.saturating_sub(message.due), message.missing()));
                }
            }
            room.audited = room.log.len();
        }
        self.outstanding = 0;
        let slowest = self.latency.max();
        for (waited, deliveries) in missing {
            self.latency
                .record_many((waited / 1000).max(slowest), deliveries);
        }
    }

    fn attribute_refusals(&mut self) {
        if self.refusals.is_empty() {
            return;
        }
        let mut refusals = std::mem::take(&mut self.refusals);
        // A message whose outcome is unknown may have arrived; a refused one must not.
        refusals.sort_by_key(|refusal| refusal.answer == Answer::OutcomeUnknown);
        let mut open = open_messages(&self.rooms);
        for refusal in refusals {
            match take_refused(&mut open, refusal) {
                Some((room, place)) => {
                    self.rooms[room].log[place as usize].answer = refusal.answer;
                }
                None if refusal.answer == Answer::Refused => {
                    self.counts.delivered_although_refused += 1;
                }
                None => {}
            }
        }
    }

    /// Compares every view with what its room's members must have received.
    pub(crate) fn audit<'a>(&self, views: impl Iterator<Item = (usize, &'a View)>) -> Audit {
        let mut audit = Audit::default();
        for message in self.rooms.iter().flat_map(|room| &room.log) {
            if message.must_arrive() {
                audit.expected += u64::from(message.members);
                audit.missing += message.missing();
            }
        }
        for (room, view) in views {
            audit.missing += unexplained_gaps(&self.rooms[room], view);
        }
        audit
    }
}

/// Returns how many numbers a view has skipped that are not those of messages which already
/// count as missing: the server left them out, or they belong to other clients' messages.
fn unexplained_gaps(room: &Room, view: &View) -> u64 {
    let skipped = view.order.skipped();
    // What a lost connection has not received counts nowhere else.
    if skipped == 0 || view.is_lost {
        return skipped;
    }
    let missing = view.received.missing(room.log.len() as u64);
    let explained = missing.filter(|place| {
        let message = &room.log[*place as usize];
        match message.seq {
            Some(seq) => view.order.has_skipped(seq.get()),
            // It has reached no member, so its number, if it has one, is not known.
            None => message.must_arrive(),
        }
    });
    skipped.saturating_sub(explained.count() as u64)
}

fn open_messages(rooms: &[Room]) -> Open {
    let mut open = Open::new();
    for (n, room) in rooms.iter().enumerate() {
        for (message, place) in room.log.iter().zip(0..) {
            let is_open = matches!(message.answer, Answer::None | Answer::Lost);
            if is_open && message.received == 0 {
                let places = open.entry((message.sender, n)).or_default();
                places.push_back(place);
            }
        }
    }
    open
}

/// Removes the oldest message that the refusal can mean, and returns its room and place.
fn take_refused(open: &mut Open, refusal: Refusal) -> Option<(usize, u32)> {
    let sender = refusal.sender;
    let rooms = match refusal.room {
        Some(room) => (sender, room)..=(sender, room),
        None => (sender, 0)..=(sender, usize::MAX),
    };
    open.range_mut(rooms).find_map(|((_, room), places)| {
        let place = places.pop_front_if(|place| *place < refusal.before)?;
        Some((*room, place))
    })
}
