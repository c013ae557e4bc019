//! Joining, joining again, leaving, paging and marking as read.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{BACKOFF, Client, Phase, Request, Role};
use crate::record::{Edit, Event, Joined, Message, Missed};

#[derive(Default)]
pub(super) struct Room {
    pub(super) membership: Membership,
    /// The client has seen every message up to this one.
    upto: u64,
    /// The messages beyond it that the client has seen.
    ahead: BTreeSet<u64>,
    /// The client pages until it has seen this message.
    missed_to: Option<u64>,
    is_paging: bool,
    marked: u64,
    /// The last `joinedRoom` on this connection, which the acknowledgement repeats.
    joined: Option<Value>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Membership {
    #[default]
    Out,
    /// The client joins at this time.
    OutUntil(Instant),
    Joining,
    /// The client has joined and joins again.
    Rejoining,
    In,
    /// The client leaves or joins again at this time.
    InUntil(Instant),
    Leaving,
}

impl Room {
    /// Prepares for a new connection.
    pub(super) fn begin(&mut self) {
        self.membership = Membership::Out;
        self.is_paging = false;
        self.joined = None;
    }

    /// Returns whether the client is a member that misses nothing it knows of.
    pub(super) fn is_settled(&self) -> bool {
        let is_in = matches!(self.membership, Membership::In | Membership::InUntil(_));
        is_in && self.missed_to.is_none()
    }

    pub(super) fn newest_seen(&self) -> u64 {
        self.ahead.last().copied().unwrap_or(self.upto)
    }
}

impl Client {
    pub(super) fn room(&mut self, id: u64) -> &mut Room {
        self.rooms.get_mut(&id).expect("a room of this client")
    }

    pub(super) fn work_in(&mut self, id: u64, phase: Phase, now: Instant) {
        let is_draining = phase == Phase::Drain;
        match self.room(id).membership {
            Membership::OutUntil(time) if now < time && !is_draining => {}
            Membership::Out | Membership::OutUntil(_) => {
                let asks_for_all = is_draining || self.profile.role != Role::Visitor;
                let after = match asks_for_all || self.random.one_in(2) {
                    true => Some(self.room(id).upto),
                    false => None,
                };
                self.join(id, after, Membership::Joining);
            }
            Membership::InUntil(time) if now >= time && !is_draining => {
                if self.random.one_in(3) {
                    let after = Some(self.room(id).upto);
                    self.join(id, after, Membership::Rejoining);
                } else {
                    self.record(Event::Leaving { room: id });
                    self.room(id).membership = Membership::Leaving;
                    self.request(&json!({ "roomId": id }), Request::Leave { room: id });
                }
            }
            Membership::In | Membership::InUntil(_) => self.page_or_mark(id),
            Membership::Joining | Membership::Rejoining | Membership::Leaving => {}
        }
    }

    fn join(&mut self, id: u64, after: Option<u64>, membership: Membership) {
        self.record(Event::Joining { room: id, after });
        self.room(id).membership = membership;
        let mut payload = match after {
            Some(after) => json!({ "roomId": id, "afterSeq": after }),
            None => json!({ "roomId": id }),
        };
        if let Some(seq) = after.filter(|_| self.is_editor()) {
            let rev = self.editing.after_rev();
            payload["afterRev"] = json!(rev);
            self.record_edit(Edit::JoiningAfter { seq, rev });
        }
        self.request(&payload, Request::Join { room: id });
    }

    fn page_or_mark(&mut self, id: u64) {
        // Readers mark every few messages, the others now and then.
        let step = match self.profile.role {
            Role::Reader => 20,
            _ => 50 + self.random.below(100),
        };
        let room = self.room(id);
        let after = room.upto;
        if room.missed_to.is_some_and(|to| to <= after) {
            room.missed_to = None;
        }
        if room.missed_to.is_some() {
            if !std::mem::replace(&mut room.is_paging, true) {
                self.record(Event::Listing { room: id });
                let payload = json!({ "roomId": id, "afterSeq": after, "limit": 200 });
                self.request(&payload, Request::List { room: id, after });
            }
        } else if after > room.marked + step {
            room.marked = after;
            self.record(Event::Marking {
                room: id,
                seq: after,
            });
            let payload = json!({ "roomId": id, "seq": after });
            let request = Request::Mark {
                room: id,
                seq: after,
            };
            self.request(&payload, request);
        }
    }

    /// Notes that a message was seen. (The checker detects messages of other rooms.)
    pub(super) fn saw(&mut self, room: u64, seq: u64) {
        if let Some(room) = self.rooms.get_mut(&room)
            && seq > room.upto
        {
            room.ahead.insert(seq);
            while room.ahead.remove(&(room.upto + 1)) {
                room.upto += 1;
            }
        }
    }

    pub(super) fn joined(&mut self, payload: &Value) {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{payload}"));
        let joined = Joined {
            room: number(&payload["roomId"]),
            seq: number(&payload["seq"]),
            read: number(&payload["readSeq"]),
            unread: number(&payload["unread"]),
            missed: payload.get("missed").map(|missed| Missed {
                from: number(&missed["from"]),
                to: number(&missed["to"]),
            }),
        };
        self.record(Event::Joined(joined));
        self.joined_at(payload);
        let stays = Duration::from_millis(50 + self.random.below(300));
        let is_visitor = self.profile.role == Role::Visitor;
        let room = self.room(joined.room);
        room.joined = Some(payload.clone());
        room.membership = match is_visitor {
            true => Membership::InUntil(Instant::now() + stays),
            false => Membership::In,
        };
        match joined.missed {
            Some(missed) => room.missed_to = Some(missed.to),
            // A client that joins without `afterSeq` does not want earlier messages.
            None if joined.seq > room.upto => {
                room.upto = joined.seq;
                room.ahead.retain(|ahead| *ahead > joined.seq);
            }
            None => {}
        }
    }

    /// Handles the positive acknowledgement of `joinRoom`.
    pub(super) fn join_acknowledged(&mut self, id: u64, answer: &Value) {
        let mut joined = answer.clone();
        joined.as_object_mut().unwrap().remove("ok");
        assert_eq!(
            Some(joined),
            self.room(id).joined,
            "the acknowledgement repeats `joinedRoom`"
        );
    }

    pub(super) fn join_refused(&mut self, id: u64) {
        let again = Instant::now() + BACKOFF;
        let room = self.room(id);
        room.membership = match room.membership {
            // A refused join changes nothing.
            Membership::Rejoining => Membership::InUntil(again),
            _ => Membership::OutUntil(again),
        };
    }

    pub(super) fn left(&mut self, id: u64) {
        self.record(Event::Left { room: id });
        let again = Duration::from_millis(self.random.below(200));
        self.room(id).membership = Membership::OutUntil(Instant::now() + again);
    }

    /// Handles `leftRoom` with a reason. If the client was joining, the answer follows.
    pub(super) fn excluded(&mut self, id: u64, reason: &str) {
        let reason = reason.to_owned();
        self.record(Event::Excluded { room: id, reason });
        self.crowd.exclusions.fetch_add(1, Ordering::Relaxed);
        let again = Duration::from_millis(self.random.below(100));
        let room = self.room(id);
        room.membership = match room.membership {
            Membership::Joining | Membership::Rejoining => Membership::Joining,
            _ => Membership::OutUntil(Instant::now() + again),
        };
    }

    pub(super) fn leave_refused(&mut self, id: u64) {
        self.room(id).membership = Membership::InUntil(Instant::now() + BACKOFF);
    }

    /// Handles the answer to `listMessages`, which is `None` if it was refused.
    pub(super) fn listed(&mut self, id: u64, after: u64, page: Option<(Vec<Message>, bool)>) {
        self.room(id).is_paging = false;
        let Some((messages, has_more)) = page else {
            return;
        };
        for message in &messages {
            self.saw(id, message.seq);
        }
        self.record(Event::Listed {
            room: id,
            after,
            messages,
            has_more,
        });
    }
}
