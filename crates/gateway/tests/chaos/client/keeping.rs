//! Changing the rules of rooms: what an owner and a moderator do all the time, and take back.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat_domain::{Role as Rank, RoomKind};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{BACKOFF, Client, Phase, Request, Role};
use crate::record::{Change, Event, Member, Seen};
use crate::stage::RULED;

/// The users whose standing changes. The last one has no connection.
const SUBJECTS: [&str; 3] = ["mallory", "trudy", "nemo"];
/// Those that must be in their rooms in the end.
const GUESTS: [&str; 2] = [SUBJECTS[0], SUBJECTS[1]];

/// What a keeper does next. One step at a time: the next one follows the answer.
#[derive(Default)]
pub(super) struct Keeping {
    steps: VecDeque<(u64, Step)>,
    /// Whether the first step has been sent and is unanswered.
    is_waiting: bool,
    due: Option<Instant>,
    has_begun: bool,
    is_draining: bool,
    next_change: u64,
}

#[derive(Clone, Copy)]
enum Step {
    Change(Change),
    GetRoom,
    ListMembers,
}

impl Keeping {
    /// Prepares for a new connection: what is unanswered is repeated.
    pub(super) fn begin(&mut self) {
        self.is_waiting = false;
    }

    fn plan(&mut self, room: u64, changes: impl IntoIterator<Item = Change>) {
        let steps = changes.into_iter().map(Step::Change);
        self.steps.extend(steps.map(|step| (room, step)));
    }
}

impl Client {
    /// Takes the next step if it is due.
    pub(super) fn keep(&mut self, phase: Phase, now: Instant) {
        if self.keeping.is_waiting || self.keeping.due.is_some_and(|due| now < due) {
            return;
        }
        if phase == Phase::Drain && !std::mem::replace(&mut self.keeping.is_draining, true) {
            self.keeping.steps.clear();
        }
        if self.keeping.steps.is_empty() {
            match (phase, self.profile.role) {
                (Phase::Load, _) => self.plan_changes(),
                // Again and again: an earlier change without an answer may still be made.
                (_, Role::Owner) => self.plan_to_let_in(),
                _ => return,
            }
        }
        let (room, step) = self.keeping.steps[0];
        self.keeping.is_waiting = true;
        match step {
            Step::Change(what) => {
                let change = self.keeping.next_change;
                self.keeping.next_change += 1;
                self.record(Event::Changing { change, room, what });
                let event = what.event();
                self.request(&payload(room, what), Request::Change { change, event });
            }
            Step::GetRoom | Step::ListMembers => {
                let event = match step {
                    Step::GetRoom => "getRoom",
                    _ => "listMembers",
                };
                self.record(Event::Looking { room });
                self.request(&json!({ "roomId": room }), Request::Look { room, event });
            }
        }
    }

    /// Plans a restriction, for one user or for all, and that it is lifted.
    fn plan_changes(&mut self) {
        let is_owner = self.profile.role == Role::Owner;
        if is_owner && !std::mem::replace(&mut self.keeping.has_begun, true) {
            let members = GUESTS.map(|user| set_member(user, Rank::Member));
            self.keeping.plan(RULED[1], members);
            return;
        }
        let room = RULED[self.random.below(RULED.len() as u64) as usize];
        let user = SUBJECTS[self.random.below(SUBJECTS.len() as u64) as usize];
        let seconds = match self.random.below(4) {
            seconds @ 1..=2 => Some(seconds),
            _ => None,
        };
        // A ban or a mute that ends by itself is not always lifted before.
        let expires = seconds.is_some() && self.random.one_in(2);
        let ban = Change::Ban { user, seconds };
        let mute = Change::Mute { user, seconds };
        let (unban, unmute) = (Change::Unban { user }, Change::Unmute { user });
        let member = set_member(user, Rank::Member);
        let plans = if is_owner { 9 } else { 6 };
        let changes = match self.random.below(plans) {
            0 | 1 if expires => vec![ban],
            0 | 1 => vec![ban, unban, member],
            2 if expires => vec![mute],
            2 => vec![mute, unmute],
            3 => vec![Change::Remove { user }, member],
            4 => vec![mute, ban, unban, unmute, member],
            5 => vec![unban, member],
            6 => vec![set_member(user, Rank::Reader), member],
            7 if room == RULED[0] => vec![
                Change::SetKind(RoomKind::Private),
                Change::SetKind(RoomKind::Open),
            ],
            _ => vec![Change::SetFrozen(true), Change::SetFrozen(false)],
        };
        self.keeping.plan(room, changes);
        if self.random.one_in(3) {
            let look = match self.random.one_in(2) {
                true => Step::GetRoom,
                false => Step::ListMembers,
            };
            self.keeping.steps.push_back((room, look));
        }
    }

    /// Plans what every guest needs in order to join. Mutes and the rooms' rules stay as they
    /// are.
    fn plan_to_let_in(&mut self) {
        for (room, user) in RULED.into_iter().zip(GUESTS.into_iter().rev()) {
            self.keeping.plan(
                room,
                [Change::Unban { user }, set_member(user, Rank::Reader)],
            );
        }
        for (room, user) in RULED.into_iter().zip(GUESTS) {
            self.keeping.plan(
                room,
                [Change::Unban { user }, set_member(user, Rank::Member)],
            );
        }
    }

    pub(super) fn changed(&mut self, change: u64) {
        self.record(Event::Changed { change });
        self.crowd.changes.fetch_add(1, Ordering::Relaxed);
        self.step_done();
    }

    fn step_done(&mut self) {
        self.keeping.is_waiting = false;
        self.keeping.steps.pop_front();
        let pause = match self.keeping.is_draining {
            true => 20,
            // Sometimes longer than the promised second.
            false if self.random.one_in(10) => 1200 + self.random.below(600),
            false => 10 + self.random.below(120),
        };
        self.keeping.due = Some(Instant::now() + Duration::from_millis(pause));
    }

    pub(super) fn step_refused(&mut self, is_retryable: bool) {
        match is_retryable {
            true => {
                self.keeping.is_waiting = false;
                self.keeping.due = Some(Instant::now() + BACKOFF);
            }
            false => self.step_done(),
        }
    }

    /// Handles the positive acknowledgement of `getRoom` or `listMembers`.
    pub(super) fn looked(&mut self, room: u64, answer: &Value) {
        let seen = match answer["members"].as_array() {
            None => Seen::Room {
                kind: RoomKind::from_name(text(&answer["room"]["kind"])).expect("a kind"),
                frozen: answer["room"]["frozen"].as_bool().expect("frozen"),
            },
            Some(members) => {
                assert_eq!(answer["hasMore"], false, "the rooms have few members");
                Seen::Members(members.iter().map(member).collect())
            }
        };
        self.record(Event::Looked { room, seen });
        self.step_done();
    }
}

fn set_member(user: &'static str, role: Rank) -> Change {
    Change::SetMember { user, role }
}

fn payload(room: u64, change: Change) -> Value {
    match change {
        Change::SetMember { user, role } => {
            json!({ "roomId": room, "userId": user, "role": role.as_str() })
        }
        Change::Remove { user } | Change::Unban { user } | Change::Unmute { user } => {
            json!({ "roomId": room, "userId": user })
        }
        Change::Ban { user, seconds } | Change::Mute { user, seconds } => {
            json!({ "roomId": room, "userId": user, "seconds": seconds })
        }
        Change::SetFrozen(frozen) => json!({ "roomId": room, "frozen": frozen }),
        Change::SetKind(kind) => json!({ "roomId": room, "kind": kind.as_str() }),
    }
}

/// Reads a `Member` of the wire.
fn member(value: &Value) -> Member {
    Member {
        user: text(&value["userId"]).to_owned(),
        role: Rank::from_name(text(&value["role"])).expect("a role"),
        is_muted: value.get("mutedUntil").is_some(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}
