//! That each connection receives messages of joined rooms only, without gaps and duplicates.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Violation;
use crate::record::{Event, History, Joined, Message, Missed, Operation};

/// What a connection must receive next in a room that it has joined or is joining.
#[derive(Clone, Copy)]
enum View {
    /// The connection is joining. With `afterSeq`, `next` is the next replayed message.
    Joining {
        after: Option<u64>,
        next: u64,
    },
    Member {
        next: u64,
    },
    /// The connection joins again. Until the gateway has read the request, it is a member
    /// whose next message is `next`; then comes the replay, which has reached `replayed`.
    Rejoining {
        next: u64,
        after: Option<u64>,
        replayed: Option<u64>,
    },
}

impl View {
    fn join(before: Option<Self>, after: Option<u64>) -> Self {
        match before {
            Some(Self::Member { next } | Self::Rejoining { next, .. }) => Self::Rejoining {
                next,
                after,
                replayed: None,
            },
            Some(Self::Joining { .. }) | None => Self::Joining {
                after,
                next: after.unwrap_or(0) + 1,
            },
        }
    }

    /// Returns the view after an exclusion. A request to join that was sent before it is still to be
    /// answered.
    fn excluded(self) -> Option<Self> {
        match self {
            Self::Joining { .. } => Some(self),
            Self::Rejoining { after, .. } => Some(Self::join(None, after)),
            Self::Member { .. } => None,
        }
    }

    /// Takes a message. Returns the number that was expected if it was another one, or
    /// `None` in a room in which nothing may arrive.
    fn receive(&mut self, seq: u64) -> Option<Result<(), u64>> {
        let next = match self {
            Self::Joining { after: None, .. } => return None,
            Self::Joining { next, .. } | Self::Member { next } => next,
            Self::Rejoining {
                next,
                after,
                replayed,
            } => match replayed {
                Some(replayed) => replayed,
                None if seq != *next && after.is_some_and(|after| seq == after + 1) => {
                    *replayed = Some(seq + 1);
                    return Some(Ok(()));
                }
                None => next,
            },
        };
        let expected = std::mem::replace(next, seq + 1);
        Some(if seq == expected {
            Ok(())
        } else {
            Err(expected)
        })
    }

    /// Returns the last message that the connection has received in the room.
    fn seen(self) -> u64 {
        match self {
            Self::Joining { .. } => 0,
            Self::Member { next } => next - 1,
            Self::Rejoining { next, replayed, .. } => next.max(replayed.unwrap_or(0)) - 1,
        }
    }

    /// Returns the resume point that would have been valid, if this one is not.
    fn expected_resume_point(self, joined: Joined) -> Option<u64> {
        let Joined { seq, missed, .. } = joined;
        let fits = |next: u64| match missed {
            Some(missed) => starts_at(missed, next, seq),
            None => seq + 1 == next,
        };
        match self {
            Self::Joining { after: None, .. } => missed.is_some().then_some(seq),
            Self::Joining {
                after: Some(after),
                next,
            } => {
                let asked_beyond = missed.is_none() && next == after + 1 && seq <= after;
                (!fits(next) && !asked_beyond).then_some(next - 1)
            }
            // A member that fell behind receives another `joinedRoom`, whose `missed` starts
            // at its next message.
            Self::Member { next } => (missed.is_none() || !fits(next)).then_some(next - 1),
            Self::Rejoining {
                replayed: Some(next),
                ..
            } => (!fits(next)).then_some(next - 1),
            // What looks like the last live messages may have been the replay. If they were
            // live, the replay may have been empty.
            Self::Rejoining { next, after, .. } => {
                let replays_nothing = after.is_some_and(|after| fits(after + 1));
                (!fits(next) && !replays_nothing).then_some(next - 1)
            }
        }
    }
}

fn starts_at(missed: Missed, next: u64, seq: u64) -> bool {
    missed.from == next && missed.to == seq && missed.from <= missed.to
}

/// Checks what each connection receives, and that read pointers move forward and name
/// messages that it has.
pub(super) fn check(history: &History, violations: &mut Vec<Violation>) {
    let client = || history.client.clone();
    let mut connection = 0;
    let mut views: HashMap<u64, View> = HashMap::new();
    let mut pointers: HashMap<(u64, &str), u64> = HashMap::new();
    for event in history.events() {
        match event {
            Event::Connected => {
                connection += 1;
                views.clear();
                pointers.clear();
            }
            Event::Joining { room, after } => {
                let before = views.get(room).copied();
                views.insert(*room, View::join(before, *after));
            }
            Event::Refused {
                operation: Operation::Join { room },
                ..
            } => match views.remove(room) {
                Some(View::Rejoining { next, replayed, .. }) => {
                    let next = replayed.unwrap_or(next);
                    views.insert(*room, View::Member { next });
                }
                Some(View::Joining { .. } | View::Member { .. }) | None => {}
            },
            Event::Left { room } => {
                views.remove(room);
            }
            Event::Excluded { room, .. } => {
                let joining = views.remove(room).and_then(View::excluded);
                views.extend(joining.map(|view| (*room, view)));
            }
            Event::Announced { room } if !views.contains_key(room) => {
                violations.push(Violation::AnnouncedOutside {
                    client: client(),
                    connection,
                    room: *room,
                });
            }
            Event::Joined(joined) => {
                let expected = match views.get(&joined.room) {
                    Some(view) => view.expected_resume_point(*joined),
                    None => Some(0),
                };
                if let Some(expected) = expected {
                    violations.push(Violation::ResumePoint {
                        client: client(),
                        connection,
                        expected,
                        joined: *joined,
                    });
                }
                let next = joined.seq + 1;
                views.insert(joined.room, View::Member { next });
            }
            Event::Received(message) => {
                let view = views.get_mut(&message.room);
                match view.and_then(|view| view.receive(message.seq)) {
                    Some(Ok(())) => {}
                    Some(Err(expected)) => violations.push(Violation::OutOfOrder {
                        client: client(),
                        connection,
                        room: message.room,
                        expected,
                        seq: message.seq,
                    }),
                    None => violations.push(Violation::NotAMember {
                        client: client(),
                        connection,
                        message: message.clone(),
                    }),
                }
            }
            Event::MarkedRead { room, user, seq } => {
                let seen = views.get(room).map_or(0, |view| view.seen());
                let last = pointers.insert((*room, user), *seq).unwrap_or(0);
                if *seq > seen || *seq <= last {
                    violations.push(Violation::ReadPointer {
                        client: client(),
                        room: *room,
                        user: user.clone(),
                        seq: *seq,
                    });
                }
            }
            _ => {}
        }
    }
}

/// The messages of one room that a client has.
#[derive(Default)]
struct Seen {
    /// It has every message up to this one.
    upto: u64,
    ahead: BTreeSet<u64>,
    /// It once did not request what it had missed.
    has_skipped: bool,
}

impl Seen {
    fn add(&mut self, seq: u64) {
        if seq > self.upto {
            self.ahead.insert(seq);
        }
        while self.ahead.remove(&(self.upto + 1)) {
            self.upto += 1;
        }
    }
}

/// Checks that a client has received every message of a room if each of its joins continued
/// where it had received everything.
pub(super) fn check_completeness(
    history: &History,
    rows: &[Message],
    violations: &mut Vec<Violation>,
) {
    let mut rooms: BTreeMap<u64, Seen> = BTreeMap::new();
    for event in history.events() {
        match event {
            Event::Joining { room, after } => {
                let seen = rooms.entry(*room).or_default();
                seen.has_skipped |= after.is_none_or(|after| after > seen.upto);
            }
            Event::Received(message) => {
                rooms.entry(message.room).or_default().add(message.seq);
            }
            Event::Listed { messages, .. } => {
                for message in messages {
                    rooms.entry(message.room).or_default().add(message.seq);
                }
            }
            _ => {}
        }
    }
    for row in rows {
        let Some(seen) = rooms.get(&row.room) else {
            continue;
        };
        if !seen.has_skipped && row.seq > seen.upto && !seen.ahead.contains(&row.seq) {
            violations.push(Violation::NeverReceived {
                client: history.client.clone(),
                room: row.room,
                seq: row.seq,
            });
        }
    }
}
