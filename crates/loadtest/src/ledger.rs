//! The account of a run: what was sent, how it was answered, and what each view received.
//!
//! Every message has an entry in its room's log, and every view has the set of the messages
//! that it received. A message therefore counts at most once per view, and no fault can
//! cancel another.

mod apart;
mod audit;
mod received;
mod room;
mod view;

use std::num::NonZeroU64;
use std::ops::Range;

use self::audit::Refusal;
use self::room::{Answer, Message, Room};
use crate::content::{Contents, Stamp};
use crate::latency::LatencyHistogram;
use crate::packets::{ErrorEvent, MarkerFinder, number};

pub(crate) use self::apart::Apart;
pub(crate) use self::audit::Audit;
pub(crate) use self::view::View;

/// The counts since the start of the run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    /// Messages that arrived at their sender: by the wire contract, they are stored.
    pub(crate) acknowledged: u64,
    /// Arrivals of this run's messages.
    pub(crate) deliveries: u64,
    /// Deliveries that had already arrived at the same view.
    pub(crate) doubled: u64,
    /// Deliveries after one that must follow them, or with another number than elsewhere.
    pub(crate) misordered: u64,
    /// Deliveries in a room that the message was not sent to or the connection has not
    /// joined.
    pub(crate) misrouted: u64,
    /// Messages that the server refused.
    pub(crate) refused: u64,
    /// Refused messages that reached a member nevertheless.
    pub(crate) delivered_although_refused: u64,
    /// Messages that were neither acknowledged nor refused when a drain ended.
    pub(crate) unanswered: u64,
    /// Errors that do not refuse a message.
    pub(crate) other_errors: u64,
    /// Connections that were lost under load.
    pub(crate) lost: u64,
}

impl Counts {
    /// Returns the number of errors of all kinds.
    pub(crate) fn errors(&self) -> u64 {
        self.refused + self.unanswered + self.other_errors
    }
}

/// The message that a connection has received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Its own, for the first time, and without an error before: the message is
    /// acknowledged.
    Own,
    Other,
}

/// The numbers that determine the order of a server's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbering {
    Unknown,
    /// The wire contract's `seq`.
    Rooms,
    /// None, because the founding contract has no `seq`: only the messages of one sender
    /// have an order.
    Senders,
}

pub(crate) struct Ledger {
    pub(crate) counts: Counts,
    /// The latencies of the messages that were due in the measured interval.
    pub(crate) latency: LatencyHistogram,
    /// The same, of members on the sender's node apart from the others, if requested.
    pub(crate) apart: Option<Apart>,
    measured: Range<u64>,
    /// Deliveries that are expected and have not arrived, of the messages that were sent
    /// since the accounts were last closed.
    outstanding: u64,
    contents: Contents,
    seq: MarkerFinder,
    room: MarkerFinder,
    numbering: Numbering,
    /// By number.
    rooms: Vec<Room>,
    refusals: Vec<Refusal>,
}

impl Ledger {
    /// A ledger for the rooms 1 to `rooms`. The run's id distinguishes its messages from
    /// those of other runs.
    pub(crate) fn new(run_id: u32, rooms: usize) -> Self {
        Self {
            counts: Counts::default(),
            latency: LatencyHistogram::new(),
            apart: None,
            measured: 0..0,
            outstanding: 0,
            contents: Contents::new(run_id),
            seq: MarkerFinder::new(b"\"seq\":"),
            room: MarkerFinder::new(b"\"roomId\":"),
            numbering: Numbering::Unknown,
            rooms: (0..=rooms).map(|_| Room::default()).collect(),
            refusals: Vec::new(),
        }
    }

    /// Starts to measure the messages that are due in an interval, in nanoseconds. Selecting
    /// them by the time of arrival would leave out the slowest.
    pub(crate) fn measure(&mut self, interval: Range<u64>) {
        self.latency.clear();
        if let Some(apart) = &mut self.apart {
            apart.clear();
        }
        self.measured = interval;
    }

    /// Returns the number of deliveries that are still waited for. Those of refused messages
    /// are among them, because they must not arrive late either.
    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    pub(crate) fn joined(&mut self, room: usize, packet: &[u8]) -> View {
        self.rooms[room].members += 1;
        View::after(self.seq.after(packet).and_then(number))
    }

    /// Removes a member that was lost: what it has not received is not expected any more,
    /// and what it has sent may be stored or not.
    pub(crate) fn left(&mut self, member: u32, room: usize, view: &mut View) {
        view.is_lost = true;
        let room = &mut self.rooms[room];
        room.members = room.members.saturating_sub(1);
        for place in view.received.missing(room.log.len() as u64) {
            let message = &mut room.log[place as usize];
            let before = message.missing();
            message.members -= 1;
            if message.sender == member && message.answer == Answer::None {
                message.answer = Answer::Lost;
            }
            if place as usize >= room.audited {
                self.outstanding -= before - message.missing();
            }
        }
    }

    /// Records a message that is being sent and appends its content.
    pub(crate) fn sending(&mut self, room: usize, sender: u32, due: u64, packet: &mut String) {
        let log = &mut self.rooms[room];
        let stamp = Stamp {
            room: room as u32,
            place: log.log.len() as u32,
        };
        log.log.push(Message {
            due,
            seq: None,
            sender,
            members: log.members,
            received: 0,
            answer: Answer::None,
        });
        self.outstanding += u64::from(log.members);
        self.counts.sent += 1;
        self.contents.write(stamp, packet);
    }

    /// Records an error of a connection in these rooms.
    pub(crate) fn refused(&mut self, sender: u32, rooms: Range<usize>, error: &ErrorEvent) {
        if !error.is_about_a_message() {
            self.counts.other_errors += 1;
            return;
        }
        self.counts.refused += 1;
        let named = error.room.filter(|room| rooms.contains(room));
        let room = named.or((rooms.len() == 1).then_some(rooms.start));
        self.refusals.push(Refusal {
            sender,
            room,
            before: room.map_or(u32::MAX, |room| self.rooms[room].log.len() as u32),
            answer: match error.code == "outcome_unknown" {
                true => Answer::OutcomeUnknown,
                false => Answer::Refused,
            },
        });
    }

    /// Records a `newMessage` that arrived at this time, in nanoseconds. The views are those
    /// of the receiver's rooms from `first_room`.
    #[inline]
    pub(crate) fn delivered(
        &mut self,
        receiver: u32,
        first_room: usize,
        views: &mut [View],
        packet: &[u8],
        now: u64,
    ) -> Delivery {
        let room = self.room.after(packet).and_then(number).unwrap_or(0) as usize;
        let Some(view) = views.get_mut(room.wrapping_sub(first_room)) else {
            self.counts.misrouted += 1;
            return Delivery::Other;
        };
        let seq = match self.numbering {
            Numbering::Senders => None,
            _ => self.seq.after(packet).and_then(number),
        };
        let Some(stamp) = self.contents.find(packet) else {
            // Another client's message still takes its place in the room's order.
            if let Some(seq) = seq
                && !view.record_numbered(seq)
            {
                self.counts.misordered += 1;
            }
            return Delivery::Other;
        };
        self.counts.deliveries += 1;
        let own_room = &mut self.rooms[room];
        let is_waited_for = stamp.place as usize >= own_room.audited;
        let message = match stamp.room as usize == room {
            true => own_room.log.get_mut(stamp.place as usize),
            false => None,
        };
        let Some(message) = message else {
            self.counts.misrouted += 1;
            if let Some(seq) = seq {
                view.record_numbered(seq);
            }
            return Delivery::Other;
        };
        if self.numbering == Numbering::Unknown {
            self.numbering = match seq {
                Some(_) => Numbering::Rooms,
                None => Numbering::Senders,
            };
        }
        let is_in_order = match seq {
            Some(seq) => view.record_numbered(seq),
            None => view.record_unnumbered(message.sender, stamp.place),
        };
        if !view.received.insert(stamp.place.into()) {
            self.counts.doubled += 1;
            return Delivery::Other;
        }
        let seq = seq.and_then(NonZeroU64::new);
        if message.received == 0 {
            message.seq = seq;
        }
        let is_own = message.sender == receiver;
        if !is_in_order || message.seq != seq || is_own && !view.record_own(stamp.place) {
            self.counts.misordered += 1;
        }
        let before = message.missing();
        if message.answer == Answer::Refused && message.received == 0 {
            self.counts.delivered_although_refused += 1;
        }
        message.received += 1;
        if is_waited_for {
            self.outstanding = self.outstanding + message.missing() - before;
        }
        if message.answer == Answer::Refused {
            return Delivery::Other;
        }
        if self.measured.contains(&message.due) {
            let micros = (now.saturating_sub(message.due) / 1000).max(1);
            self.latency.record(micros);
            if let Some(apart) = &mut self.apart {
                apart.record(message.sender, receiver, micros);
            }
        }
        if is_own {
            self.counts.acknowledged += 1;
            // After an error about it, its place in flight is taken already.
            return match std::mem::replace(&mut message.answer, Answer::Acknowledged) {
                Answer::None => Delivery::Own,
                _ => Delivery::Other,
            };
        }
        Delivery::Other
    }
}

#[cfg(test)]
mod tests;
