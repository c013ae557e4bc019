//! When a client sent what is refused later, and which refusals rules explain.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chat_domain::Role;

use super::super::standing::{Period, Standing};
use crate::record::{Change, Entry, Event, Evidence, History, Operation};

/// How often a message, or a change of rules, is decided again because the rules change meanwhile.
/// If they change as often, it may be refused as unavailable.
const ATTEMPTS: usize = 5;

/// The codes of refusals that rules may explain.
const CODES: [&str; 5] = [
    "forbidden",
    "not_found",
    "not_in_room",
    "conflict",
    "unavailable",
];

/// A request about a room.
#[derive(Clone, Copy)]
struct Request {
    room: u64,
    at: Duration,
    /// Whether the connection had joined the room.
    is_in: bool,
}

/// The requests of one client, and the rooms that its connection has joined.
#[derive(Default)]
pub(in crate::checker) struct Requests {
    attempts: HashMap<u64, Request>,
    changes: HashMap<u64, (Request, Change)>,
    /// The last one of each other kind.
    last: HashMap<(u64, &'static str), Request>,
    joined: HashSet<u64>,
    /// The rooms about which it has requested anything.
    rooms: HashSet<u64>,
}

impl Requests {
    pub(in crate::checker) fn note(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Connected => self.joined.clear(),
            Event::Joined(joined) => {
                self.joined.insert(joined.room);
            }
            Event::Left { room } | Event::Excluded { room, .. } => {
                self.joined.remove(room);
            }
            Event::Joining { room, .. } => self.note_last(*room, "joinRoom", entry.at),
            Event::Leaving { room } => self.note_last(*room, "leaveRoom", entry.at),
            Event::Listing { room } => self.note_last(*room, "listMessages", entry.at),
            Event::Marking { room, .. } => self.note_last(*room, "markRead", entry.at),
            Event::Looking { room } => {
                self.note_last(*room, "getRoom", entry.at);
                self.note_last(*room, "listMembers", entry.at);
            }
            Event::Sent { attempt, room, .. } => {
                let request = self.request(*room, entry.at);
                self.attempts.insert(*attempt, request);
            }
            Event::Changing { change, room, what } => {
                let request = self.request(*room, entry.at);
                self.changes.insert(*change, (request, *what));
            }
            _ => {}
        }
    }

    fn note_last(&mut self, room: u64, event: &'static str, at: Duration) {
        let request = self.request(room, at);
        self.last.insert((room, event), request);
    }

    fn request(&mut self, room: u64, at: Duration) -> Request {
        self.rooms.insert(room);
        let is_in = self.joined.contains(&room);
        Request { room, at, is_in }
    }

    /// Returns when the last request of this kind was sent.
    pub(super) fn sent(&self, room: u64, event: &'static str) -> Duration {
        let request = self.last.get(&(room, event));
        request.map_or(Duration::ZERO, |request| request.at)
    }

    /// Returns whether an `error` event about this event and with this code may be the consequence
    /// of rules, which the acknowledgement after it shows.
    pub(in crate::checker) fn may_forbid(
        &self,
        event: &str,
        code: &str,
        standing: &Standing<'_>,
    ) -> bool {
        let mut rooms = self.rooms.iter();
        !event.is_empty() && CODES.contains(&code) && rooms.any(|room| standing.has_rules(*room))
    }

    /// Returns whether rules explain this refusal, which arrived at this time.
    pub(in crate::checker) fn explain(
        &self,
        operation: Operation,
        code: &str,
        at: Duration,
        (history, node, evidence): (&History, usize, &Evidence),
        standing: &Standing<'_>,
    ) -> bool {
        let Some(request) = self.of(operation) else {
            return false;
        };
        let room = request.room;
        if !standing.has_rules(room) {
            return false;
        }
        let period = [request.at, at];
        match (code, operation) {
            ("unavailable", _) => standing.changes(room, period) >= ATTEMPTS,
            // The answer may follow from an exclusion that the node notices only now.
            ("not_found", _) => {
                let since = evidence.noticed_since(&history.client, node, request.at);
                standing.may_be_hidden(room, &history.user, [since, at])
            }
            ("not_in_room", _) => !request.is_in || !self.joined.contains(&room),
            ("forbidden", Operation::Send { .. }) => {
                standing.may_be_forbidden(room, &history.user, period)
            }
            ("forbidden" | "conflict", Operation::Change { change, .. }) => {
                let (_, what) = self.changes[&change];
                may_be_refused(code, what, (room, &history.user), period, standing)
            }
            _ => false,
        }
    }

    fn of(&self, operation: Operation) -> Option<Request> {
        match operation {
            Operation::Send { attempt } => self.attempts.get(&attempt).copied(),
            Operation::Change { change, .. } => {
                self.changes.get(&change).map(|(request, _)| *request)
            }
            // Nothing changes messages in rooms with rules.
            Operation::Edit { .. } => None,
            Operation::Join { room }
            | Operation::Leave { room }
            | Operation::List { room }
            | Operation::Mark { room }
            | Operation::Look { room, .. } => self.last.get(&(room, operation.event())).copied(),
        }
    }
}

/// A banned user cannot become a member. Only an owner changes a role.
fn may_be_refused(
    code: &str,
    what: Change,
    (room, actor): (u64, &str),
    period: Period,
    standing: &Standing<'_>,
) -> bool {
    let Change::SetMember { user, role } = what else {
        return false;
    };
    let is_owner = standing.may_have_role(room, actor, period, |role| role == Some(Role::Owner));
    match code {
        "conflict" => standing.may_be_banned(room, user, period),
        _ => {
            !is_owner
                && standing.may_have_role(room, user, period, |current| {
                    current.is_some_and(|current| current != role)
                })
        }
    }
}
