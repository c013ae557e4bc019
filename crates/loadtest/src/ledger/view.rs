//! What one connection has seen of one room: its account of what arrived, and in which
//! order.

use super::received::Received;
use crate::arrivals::{Arrival, Arrivals};

/// One connection's view of one room that it has joined.
pub(crate) struct View {
    /// The messages of this run that arrived, by their places in the room's log.
    pub(super) received: Received,
    /// The numbers that the server assigned to the room's messages.
    pub(super) order: Arrivals,
    /// For a server that assigns none: the place after each sender's latest message.
    senders: Vec<(u32, u32)>,
    /// The place after the latest message that this connection sent itself.
    own: u32,
    /// Whether its connection was lost.
    pub(super) is_lost: bool,
}

impl View {
    /// A view of a room joined after this number, if the server numbers its messages.
    pub(super) fn after(seq: Option<u64>) -> Self {
        Self {
            received: Received::default(),
            order: seq.map_or(Arrivals::from_first(), Arrivals::after),
            senders: Vec::new(),
            own: 0,
            is_lost: false,
        }
    }

    /// Returns the number of the room's newest message, if the server numbers them.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.order.newest()
    }

    /// Records a message that this connection sent itself, and returns whether it arrived
    /// before those that the connection sent later.
    #[inline]
    pub(super) fn record_own(&mut self, place: u32) -> bool {
        let is_in_order = place >= self.own;
        self.own = self.own.max(place + 1);
        is_in_order
    }

    /// Records a message without a number, and returns whether it arrived before those that
    /// its sender sent later.
    pub(super) fn record_unnumbered(&mut self, sender: u32, place: u32) -> bool {
        match self.senders.iter_mut().find(|(known, _)| *known == sender) {
            Some((_, next)) => {
                let is_in_order = place >= *next;
                *next = (*next).max(place + 1);
                is_in_order
            }
            None => {
                self.senders.push((sender, place + 1));
                true
            }
        }
    }

    /// Records a message with a number, and returns whether it arrived before those with
    /// higher numbers.
    #[inline]
    pub(super) fn record_numbered(&mut self, seq: u64) -> bool {
        self.order.record(seq) == Arrival::InOrder
    }
}
