//! What was sent, what of it arrived, and whether it arrived once and in order.

use crate::content::{Contents, Stamp};
use crate::histogram::Histogram;
use crate::order::{Arrival, Arrivals};
use crate::packets::{Landmark, number};

/// Everything that is counted, since the beginning.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    /// Messages that came back to their sender: stored, by the wire contract.
    pub(crate) acknowledged: u64,
    pub(crate) deliveries: u64,
    /// How many deliveries the messages sent should lead to.
    pub(crate) expected: u64,
    pub(crate) doubled: u64,
    pub(crate) misordered: u64,
    /// Messages that were refused.
    pub(crate) errors: u64,
    /// Connections that ended under load.
    pub(crate) lost: u64,
}

impl Counts {
    /// Deliveries that are still to come, or never will.
    pub(crate) fn missing(&self) -> u64 {
        let distinct = self.deliveries - self.doubled;
        self.expected.saturating_sub(distinct)
    }
}

/// What one connection has seen of its room.
pub(crate) struct View {
    room: Arrivals,
    /// Where the room has no numbers, each sender's own.
    senders: Vec<(u32, Arrivals)>,
    own: Arrivals,
}

impl View {
    /// Of a room that has come this far, if the server says how far.
    pub(crate) fn from(seam: Option<u64>) -> Self {
        Self {
            room: seam.map_or(Arrivals::anywhere(), Arrivals::after),
            senders: Vec::new(),
            own: Arrivals::after(0),
        }
    }

    /// How far the room has come, if it has numbers.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.room.newest()
    }

    fn of_sender(&mut self, sender: u32) -> &mut Arrivals {
        let known = self.senders.iter().position(|(known, _)| *known == sender);
        let at = known.unwrap_or_else(|| {
            self.senders.push((sender, Arrivals::after(0)));
            self.senders.len() - 1
        });
        &mut self.senders[at].1
    }
}

/// What a message is to the connection that received it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Its own, for the first time.
    Own,
    Other,
}

/// By what a server's messages are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbering {
    Unknown,
    /// The wire contract's `seq`.
    Rooms,
    /// The founding contract has no `seq`: the contents' own numbers.
    Senders,
}

pub(crate) struct Ledger {
    pub(crate) counts: Counts,
    pub(crate) latency: Histogram,
    contents: Contents,
    seq: Landmark,
    room: Landmark,
    numbering: Numbering,
    /// How many are in each room.
    members: Vec<u32>,
}

impl Ledger {
    /// Of a run in the rooms 1 to `rooms`; `run` tells its messages from all others.
    pub(crate) fn new(run: u32, rooms: usize) -> Self {
        Self {
            counts: Counts::default(),
            latency: Histogram::new(),
            contents: Contents::new(run),
            seq: Landmark::new(b"\"seq\":"),
            room: Landmark::new(b"\"roomId\":"),
            numbering: Numbering::Unknown,
            members: vec![0; rooms + 1],
        }
    }

    pub(crate) fn joined(&mut self, room: usize, packet: &[u8]) -> View {
        self.members[room] += 1;
        View::from(self.seq.after(packet).and_then(number))
    }

    pub(crate) fn left(&mut self, room: usize) {
        self.members[room] = self.members[room].saturating_sub(1);
    }

    /// Appends the content of a message that is being sent.
    pub(crate) fn sending(&mut self, room: usize, stamp: Stamp, packet: &mut String) {
        self.counts.sent += 1;
        self.counts.expected += u64::from(self.members[room]);
        self.contents.write(stamp, packet);
    }

    /// The room that a packet is about.
    pub(crate) fn room(&mut self, packet: &[u8]) -> Option<usize> {
        self.room
            .after(packet)
            .and_then(number)
            .map(|room| room as usize)
    }

    /// A message was refused: nobody waits for it.
    pub(crate) fn refused(&mut self, room: usize) {
        self.counts.errors += 1;
        let members = u64::from(self.members[room]);
        self.counts.expected = self.counts.expected.saturating_sub(members);
    }

    /// A `newMessage` arrived at this time, in nanoseconds.
    #[inline]
    pub(crate) fn delivered(
        &mut self,
        receiver: u32,
        view: &mut View,
        packet: &[u8],
        now: u64,
    ) -> Delivery {
        let seq = match self.numbering {
            Numbering::Senders => None,
            _ => self.seq.after(packet).and_then(number),
        };
        let Some(stamp) = self.contents.find(packet) else {
            // Somebody else's; it has its place in the room's order.
            if let Some(seq) = seq {
                view.room.see(seq);
            }
            return Delivery::Other;
        };
        if self.numbering == Numbering::Unknown {
            self.numbering = match seq {
                Some(_) => Numbering::Rooms,
                None => Numbering::Senders,
            };
        }
        let in_room = match seq {
            Some(seq) => view.room.see(seq),
            None => view.of_sender(stamp.sender).see(u64::from(stamp.number)),
        };
        let is_own = stamp.sender == receiver;
        let arrival = if is_own {
            // One message under two numbers is in order in its room.
            in_room.max(view.own.see(u64::from(stamp.number)))
        } else {
            in_room
        };
        self.counts.deliveries += 1;
        match arrival {
            Arrival::InOrder => {}
            Arrival::Late => self.counts.misordered += 1,
            Arrival::Repeated => {
                self.counts.doubled += 1;
                return Delivery::Other;
            }
        }
        self.latency
            .record((now.saturating_sub(stamp.due) / 1000).max(1));
        if is_own {
            self.counts.acknowledged += 1;
            return Delivery::Own;
        }
        Delivery::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: u64 = 1_000_000;

    /// A room of two, `0` who sends and `1` who listens.
    struct Room {
        ledger: Ledger,
        views: [View; 2],
    }

    impl Room {
        fn new() -> Self {
            let mut ledger = Ledger::new(7, 1);
            let views = [(); 2].map(|()| ledger.joined(1, br#"42["joinedRoom",{"seq":0}]"#));
            Self { ledger, views }
        }

        fn send(&mut self, number: u32) -> String {
            let stamp = Stamp {
                due: SENT,
                sender: 0,
                number,
            };
            let mut content = String::new();
            self.ledger.sending(1, stamp, &mut content);
            content
        }

        fn deliver(&mut self, to: u32, seq: Option<u64>, content: &str) -> Delivery {
            let seq = seq.map_or(String::new(), |seq| format!("\"seq\":{seq},"));
            let packet = format!(r#"42["newMessage",{{"id":1,{seq}"content":"{content}"}}]"#);
            let view = &mut self.views[to as usize];
            self.ledger
                .delivered(to, view, packet.as_bytes(), SENT + 5_000_000)
        }

        fn verdict(&self) -> [u64; 4] {
            let counts = self.ledger.counts;
            [
                counts.acknowledged,
                counts.missing(),
                counts.doubled,
                counts.misordered,
            ]
        }
    }

    #[test]
    fn what_arrives_once_and_in_order_is_fine_with_seq_and_without() {
        for has_seq in [true, false] {
            let mut room = Room::new();
            for n in 1..=3 {
                let content = room.send(n);
                let seq = has_seq.then_some(u64::from(n));
                assert_eq!(room.deliver(0, seq, &content), Delivery::Own);
                assert_eq!(room.deliver(1, seq, &content), Delivery::Other);
            }
            assert_eq!(room.verdict(), [3, 0, 0, 0]);
            assert_eq!(room.ledger.latency.latency().unwrap().p50, 5.0);
        }
    }

    #[test]
    fn missing_doubled_and_late_ones_are_told_apart() {
        for has_seq in [true, false] {
            let mut room = Room::new();
            let contents = [1, 2, 3].map(|n| room.send(n));
            for n in [1, 3, 2, 2] {
                let seq = has_seq.then_some(n as u64);
                room.deliver(1, seq, &contents[n - 1]);
            }
            assert_eq!(room.verdict(), [0, 3, 1, 1], "{has_seq}");
        }
    }

    #[test]
    fn a_message_that_was_stored_twice_is_doubled_at_its_sender() {
        let mut room = Room::new();
        let content = room.send(1);
        for (seq, expected) in [(1, Delivery::Own), (2, Delivery::Other)] {
            assert_eq!(room.deliver(0, Some(seq), &content), expected);
        }
        assert_eq!(room.verdict(), [1, 1, 1, 0]);
    }

    #[test]
    fn nobody_waits_for_a_refused_message_or_for_somebody_elses() {
        let mut room = Room::new();
        room.send(1);
        room.ledger.refused(1);
        room.deliver(1, Some(1), "hello");
        let content = room.send(2);
        room.deliver(0, Some(2), &content);
        room.deliver(1, Some(2), &content);
        assert_eq!(room.verdict(), [1, 0, 0, 0]);
        assert_eq!(room.ledger.counts.errors, 1);
    }
}
