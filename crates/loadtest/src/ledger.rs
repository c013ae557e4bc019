//! Counts what was sent and what arrived, and checks that it arrived once and in order.

use crate::arrivals::{Arrival, Arrivals};
use crate::content::{Contents, Stamp};
use crate::latency::LatencyHistogram;
use crate::packets::{MarkerFinder, number};

/// The counts since the start of the run.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    /// Messages that arrived at their sender: by the wire contract, they are stored.
    pub(crate) acknowledged: u64,
    pub(crate) deliveries: u64,
    /// The deliveries that the sent messages should cause.
    pub(crate) expected: u64,
    pub(crate) doubled: u64,
    pub(crate) misordered: u64,
    /// Messages that the server refused.
    pub(crate) errors: u64,
    /// Connections that were lost under load.
    pub(crate) lost: u64,
}

impl Counts {
    /// Returns the expected deliveries that have not arrived.
    pub(crate) fn missing(&self) -> u64 {
        let distinct = self.deliveries - self.doubled;
        self.expected.saturating_sub(distinct)
    }
}

/// What one connection has seen of its room.
pub(crate) struct View {
    room: Arrivals,
    /// Each sender's messages, for a server that does not number its rooms' messages.
    senders: Vec<(u32, Arrivals)>,
    /// The messages that this connection sent itself.
    own: Arrivals,
}

impl View {
    /// A view of a room joined after this message, if the server numbers its messages.
    fn after(seq: Option<u64>) -> Self {
        Self {
            room: seq.map_or(Arrivals::from_first(), Arrivals::after),
            senders: Vec::new(),
            own: Arrivals::after(0),
        }
    }

    /// Returns the room's newest message, if the server numbers them.
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

/// Whose message a connection has received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Its own, for the first time: the message is acknowledged.
    Own,
    Other,
}

/// The numbers that determine the order of a server's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbering {
    Unknown,
    /// The wire contract's `seq`.
    Rooms,
    /// The numbers in the contents, because the founding contract has no `seq`.
    Senders,
}

pub(crate) struct Ledger {
    pub(crate) counts: Counts,
    pub(crate) latency: LatencyHistogram,
    contents: Contents,
    seq: MarkerFinder,
    room: MarkerFinder,
    numbering: Numbering,
    /// The number of members of each room.
    members: Vec<u32>,
}

impl Ledger {
    /// A ledger for the rooms 1 to `rooms`. The run's id distinguishes its messages from
    /// those of other runs.
    pub(crate) fn new(run_id: u32, rooms: usize) -> Self {
        Self {
            counts: Counts::default(),
            latency: LatencyHistogram::new(),
            contents: Contents::new(run_id),
            seq: MarkerFinder::new(b"\"seq\":"),
            room: MarkerFinder::new(b"\"roomId\":"),
            numbering: Numbering::Unknown,
            members: vec![0; rooms + 1],
        }
    }

    pub(crate) fn joined(&mut self, room: usize, packet: &[u8]) -> View {
        self.members[room] += 1;
        View::after(self.seq.after(packet).and_then(number))
    }

    pub(crate) fn left(&mut self, room: usize) {
        self.members[room] = self.members[room].saturating_sub(1);
    }

    /// Counts a message that is being sent and appends its content.
    pub(crate) fn sending(&mut self, room: usize, stamp: Stamp, packet: &mut String) {
        self.counts.sent += 1;
        self.counts.expected += u64::from(self.members[room]);
        self.contents.write(stamp, packet);
    }

    /// Returns the room that a packet names.
    pub(crate) fn room(&mut self, packet: &[u8]) -> Option<usize> {
        self.room
            .after(packet)
            .and_then(number)
            .map(|room| room as usize)
    }

    /// Counts a refused message, which no member will receive.
    pub(crate) fn refused(&mut self, room: usize) {
        self.counts.errors += 1;
        let members = u64::from(self.members[room]);
        self.counts.expected = self.counts.expected.saturating_sub(members);
    }

    /// Counts a `newMessage` that arrived at this time, in nanoseconds.
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
            // Another client's message still takes its place in the room's order.
            if let Some(seq) = seq {
                view.room.record(seq);
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
            Some(seq) => view.room.record(seq),
            None => view.of_sender(stamp.sender).record(u64::from(stamp.number)),
        };
        let is_own = stamp.sender == receiver;
        let arrival = if is_own {
            // A message that was stored twice has two numbers, both in order in its room.
            in_room.max(view.own.record(u64::from(stamp.number)))
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

    /// A room with two members: `0` sends and `1` only receives.
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
                .delivered(to, view, packet.as_bytes(), SENT + 1_000_000)
        }

        fn counts(&self) -> [u64; 4] {
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
    fn messages_that_arrive_once_and_in_order_are_clean_with_and_without_seq() {
        for has_seq in [true, false] {
            let mut room = Room::new();
            for n in 1..=3 {
                let content = room.send(n);
                let seq = has_seq.then_some(u64::from(n));
                assert_eq!(room.deliver(0, seq, &content), Delivery::Own);
                assert_eq!(room.deliver(1, seq, &content), Delivery::Other);
            }
            assert_eq!(room.counts(), [3, 0, 0, 0]);
            assert_eq!(room.ledger.latency.percentiles().unwrap().p50, 1.0);
        }
    }

    #[test]
    fn missing_repeated_and_late_messages_are_told_apart() {
        for has_seq in [true, false] {
            let mut room = Room::new();
            let contents = [1, 2, 3].map(|n| room.send(n));
            for n in [1, 3, 2, 2] {
                let seq = has_seq.then_some(n as u64);
                room.deliver(1, seq, &contents[n - 1]);
            }
            assert_eq!(room.counts(), [0, 3, 1, 1], "{has_seq}");
        }
    }

    #[test]
    fn a_message_that_was_stored_twice_counts_as_repeated_at_its_sender() {
        let mut room = Room::new();
        let content = room.send(1);
        for (seq, expected) in [(1, Delivery::Own), (2, Delivery::Other)] {
            assert_eq!(room.deliver(0, Some(seq), &content), expected);
        }
        assert_eq!(room.counts(), [1, 1, 1, 0]);
    }

    #[test]
    fn refused_messages_and_those_of_other_clients_are_not_expected() {
        let mut room = Room::new();
        room.send(1);
        room.ledger.refused(1);
        room.deliver(1, Some(1), "hello");
        let content = room.send(2);
        room.deliver(0, Some(2), &content);
        room.deliver(1, Some(2), &content);
        assert_eq!(room.counts(), [1, 0, 0, 0]);
        assert_eq!(room.ledger.counts.errors, 1);
    }
}
