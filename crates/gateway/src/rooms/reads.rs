//! Who has read a room up to where, told as seldom as is promised.
//!
//! At most one event a second for each user and room, the newest position of it. And
//! not all at once: a thousand members who read the same message would make a million
//! events. What can be told in half a second is bounded; the rest waits its turn, and
//! what a user reads meanwhile takes the place of what was waiting.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use chat_domain::{RoomId, Seq, UserId};
use tokio::time::Instant;

use crate::socket::objects::MarkedRead;
use crate::socket::packet::Packet;

/// How long a user's next event waits at the least.
const PAUSE: Duration = Duration::from_secs(1);
/// How many packets one interval (half a second) may make in one room.
const PACKETS_AN_INTERVAL: usize = 10_000;

/// What is to be told to a room.
#[derive(Default)]
pub(super) struct Reads {
    users: HashMap<UserId, Read>,
    /// Those with something to tell, in the order in which they came.
    waiting: VecDeque<UserId>,
    /// Packets made in this interval.
    spent: usize,
}

#[derive(Default)]
struct Read {
    /// To be told.
    waiting: Option<Seq>,
    told: Option<(Instant, Seq)>,
}

impl Reads {
    /// A user has read up to a position.
    pub(super) fn note(&mut self, user_id: UserId, seq: Seq) {
        let read = self.users.entry(user_id.clone()).or_default();
        // Hints may come in any order.
        if read.told.is_some_and(|(_, told)| seq <= told) {
            return;
        }
        match &mut read.waiting {
            Some(waiting) => *waiting = seq.max(*waiting),
            None => {
                read.waiting = Some(seq);
                self.waiting.push_back(user_id);
            }
        }
    }

    /// Tells what may be told now: nothing that names a message which has not been
    /// `released`.
    pub(super) fn tell(
        &mut self,
        released: Seq,
        members: usize,
        mut tell: impl FnMut(&UserId, Seq),
    ) {
        let now = Instant::now();
        for _ in 0..self.waiting.len() {
            // One at least in each interval, however large the room is.
            if self.spent > 0 && self.spent + members > PACKETS_AN_INTERVAL {
                return;
            }
            let Some(user_id) = self.waiting.pop_front() else {
                return;
            };
            let Some(read) = self.users.get_mut(&user_id) else {
                continue;
            };
            let is_early = read.told.is_some_and(|(told, _)| now < told + PAUSE);
            match read.waiting {
                Some(seq) if seq <= released && !is_early => {
                    read.waiting = None;
                    read.told = Some((now, seq));
                    self.spent += members;
                    tell(&user_id, seq);
                }
                Some(_) => self.waiting.push_back(user_id),
                None => {}
            }
        }
    }

    /// A new interval begins. Who was told long ago and has nothing to tell is
    /// forgotten.
    pub(super) fn begin_interval(&mut self) {
        self.spent = 0;
        let now = Instant::now();
        self.users.retain(|_, read| {
            read.waiting.is_some() || read.told.is_some_and(|(told, _)| now < told + PAUSE)
        });
    }
}

/// What a member is to be told when it has the messages that it names.
#[derive(Default)]
pub(super) struct LateReads(HashMap<UserId, Seq>);

impl LateReads {
    pub(super) fn note(&mut self, user_id: &UserId, seq: Seq) {
        let late = self.0.entry(user_id.clone()).or_default();
        *late = seq.max(*late);
    }

    /// What may be told to a member that has everything up to the cursor.
    pub(super) fn take(&mut self, cursor: Seq) -> Vec<(UserId, Seq)> {
        self.0.extract_if(|_, seq| *seq <= cursor).collect()
    }
}

/// `markedRead`.
pub(super) fn packet(room_id: RoomId, user_id: &UserId, seq: Seq) -> Packet {
    Packet::event("markedRead", &MarkedRead::new(room_id, user_id, seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn user(n: usize) -> UserId {
        UserId::new(n.to_string()).unwrap()
    }

    fn told(reads: &mut Reads, released: u64, members: usize) -> Vec<(String, u64)> {
        let mut told = Vec::new();
        reads.tell(seq(released), members, |user, seq| {
            told.push((user.to_string(), seq.get()));
        });
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_is_told_once_a_second_and_the_newest_wins() {
        let mut reads = Reads::default();
        reads.note(user(1), seq(1));
        assert_eq!(told(&mut reads, 9, 2), [("1".to_owned(), 1)]);
        for n in [2, 4, 3] {
            reads.note(user(1), seq(n));
        }
        assert_eq!(told(&mut reads, 9, 2), []);
        tokio::time::advance(PAUSE).await;
        assert_eq!(told(&mut reads, 9, 2), [("1".to_owned(), 4)]);
        reads.note(user(1), seq(4));
        tokio::time::advance(PAUSE).await;
        assert_eq!(told(&mut reads, 9, 2), [], "it is known");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_told_of_a_message_that_was_not_shown() {
        let mut reads = Reads::default();
        reads.note(user(1), seq(5));
        assert_eq!(told(&mut reads, 4, 2), []);
        assert_eq!(told(&mut reads, 5, 2), [("1".to_owned(), 5)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_who_read_at_once_take_turns() {
        let mut reads = Reads::default();
        for n in 0..1000 {
            reads.note(user(n), seq(1));
        }
        let first = told(&mut reads, 1, 1000);
        assert_eq!(first.len(), 10);
        assert_eq!(told(&mut reads, 1, 1000), [], "in this interval");
        reads.begin_interval();
        let next = told(&mut reads, 1, 1000);
        assert_eq!(next.len(), 10);
        assert!(next.iter().all(|read| !first.contains(read)));
    }

    #[test]
    fn a_late_member_is_told_what_it_has() {
        let mut late = LateReads::default();
        for (n, at) in [(1, 3), (1, 5), (1, 4), (2, 9)] {
            late.note(&user(n), seq(at));
        }
        assert_eq!(late.take(seq(4)), []);
        assert_eq!(late.take(seq(5)), [(user(1), seq(5))]);
        assert_eq!(late.take(seq(9)), [(user(2), seq(9))]);
    }
}
