//! What a client makes of what it is handed: each message in the newest state that it knows.
//!
//! - The number of a change only rises on a connection, from one join to the next.
//! - An older state of a message never follows a newer one, and every state is one that the
//!   message had.
//! - A join hands over exactly what changed of the messages that the client claims to have, before
//!   the messages that it lacks. What it cannot is reported as missed.
//! - In the end, a client has every message and every change since it joined, and every message
//!   that it has is as the log has it.
//! - A change names who made it only if it is the only one since the state that the client has.

use std::collections::BTreeMap;

use chat_domain::RoomId;

use crate::frames::{Frame, MessageState};
use crate::log::Log;

/// What a client says that it has: the messages up to one, in their states as of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) after: u64,
    pub(crate) rev: Option<u64>,
}

impl Claim {
    /// What the room has of it.
    pub(crate) fn within(self, newest: u64, rev: u64) -> Self {
        Self {
            after: self.after.min(newest),
            rev: self.rev.map(|known| known.min(rev)),
        }
    }
}

/// A client and a room.
type Key = (u64, RoomId);

/// Messages in states that a client knows.
pub(crate) type States = BTreeMap<u64, MessageState>;

/// What all clients have.
#[derive(Default)]
pub(crate) struct Views {
    views: BTreeMap<Key, View>,
    /// Views that begin when the client is admitted.
    waiting: BTreeMap<Key, View>,
}

/// What one client has of one room.
#[derive(Default)]
struct View {
    claim: Option<Claim>,
    /// The room's newest change as the client began to join.
    joins_at: u64,
    /// The resume point.
    seam: Option<u64>,
    /// The newest message, and the last change, that it has.
    cursor: u64,
    rev: u64,
    states: States,
    /// What it has to read itself.
    missed: Option<(u64, u64)>,
    changes_missed: Option<(u64, u64)>,
}

impl Views {
    /// Returns what a client claims to have, after it has read what it missed.
    pub(crate) fn has(&mut self, log: &Log, key: Key) -> Option<(Claim, States)> {
        let view = self.views.get_mut(&key)?;
        view.read_missed(log, key.1);
        let claim = Claim {
            after: view.cursor,
            rev: match (view.seam, view.claim) {
                (None, Some(claim)) if claim.rev.is_none() => None,
                _ => Some(view.rev),
            },
        };
        Some((claim, view.states.clone()))
    }

    /// A client asks to join. What it claims is in these states, or in those that it had.
    pub(crate) fn joins(
        &mut self,
        log: &Log,
        key: Key,
        claim: Option<Claim>,
        joins_at: u64,
        states: Option<States>,
    ) {
        let states = match claim {
            Some(Claim {
                after,
                rev: Some(rev),
            }) => states.unwrap_or_else(|| as_of(log, key.1, after, rev)),
            // What it has may have changed, and it does not ask.
            _ => States::new(),
        };
        let view = View {
            claim,
            joins_at,
            cursor: claim.map_or(0, |claim| claim.after),
            rev: claim.and_then(|claim| claim.rev).unwrap_or_default(),
            states,
            ..View::default()
        };
        self.waiting.remove(&key);
        match claim {
            Some(_) => self.views.insert(key, view),
            // Until it is admitted anew, an earlier stay goes on.
            None => self.waiting.insert(key, view),
        };
    }

    /// A client is handed a frame.
    pub(crate) fn take(&mut self, log: &Log, key: Key, frame: &Frame) -> Result<(), String> {
        if let Frame::Joined { .. } = frame
            && let Some(view) = self.waiting.remove(&key)
        {
            self.views.insert(key, view);
        }
        let Some(view) = self.views.get_mut(&key) else {
            return Ok(());
        };
        let room_id = key.1;
        match frame {
            Frame::Message { seq, state, .. } => {
                view.check(log, room_id, *seq, state)?;
                view.states.insert(*seq, state.clone());
                view.cursor = *seq;
            }
            Frame::MessageChanged { seq, state, by, .. } => {
                if view.seam.is_none() {
                    view.is_replayed(*seq, state)?;
                }
                if state.rev <= view.rev {
                    return Err(format!("{frame:?} arrives after change {}", view.rev));
                }
                view.check(log, room_id, *seq, state)?;
                view.is_by(log, room_id, *seq, state.rev, *by)?;
                view.states.insert(*seq, state.clone());
                view.rev = state.rev;
            }
            Frame::Joined {
                seam,
                missed,
                rev,
                changes_missed,
                ..
            } => {
                view.admitted(log, room_id, *rev, *changes_missed)?;
                view.seam = Some(*seam);
                view.cursor = view.cursor.max(*seam);
                view.rev = *rev;
                view.missed = *missed;
                view.changes_missed = *changes_missed;
            }
            Frame::ReadPointer { .. } | Frame::RulesChange { .. } | Frame::Farewell { .. } => {}
        }
        Ok(())
    }

    /// Checks that a client in the room has what is stored, in these newest states.
    pub(crate) fn is_up_to_date(
        &mut self,
        log: &Log,
        key: Key,
        stored: &[(u64, MessageState)],
    ) -> Result<(), String> {
        let Some(view) = self.views.get_mut(&key) else {
            return Ok(());
        };
        view.read_missed(log, key.1);
        for (n, state) in stored {
            match view.states.get(n) {
                Some(known) if known == state => {}
                Some(known) => return Err(format!("{state:?} of message {n}: it has {known:?}")),
                None if view.must_have(*n, state.rev) => {
                    return Err(format!("{state:?} of message {n}"));
                }
                None => {}
            }
        }
        Ok(())
    }
}

impl View {
    /// Checks a state that is handed to the client.
    fn check(
        &self,
        log: &Log,
        room_id: RoomId,
        n: u64,
        state: &MessageState,
    ) -> Result<(), String> {
        if let Some(known) = self.states.get(&n)
            && known.rev > state.rev
        {
            return Err(format!("{state:?} of {n} arrives after {known:?}"));
        }
        if state_at(log, room_id, n, state.rev) != *state {
            return Err(format!("{state:?} of {n} arrives and never was its state"));
        }
        Ok(())
    }

    /// Checks that a change may be part of what a join replays.
    fn is_replayed(&self, n: u64, state: &MessageState) -> Result<(), String> {
        let Some(Claim {
            after,
            rev: Some(_),
        }) = self.claim
        else {
            return Err(format!("{state:?} of {n} arrives before joinedRoom"));
        };
        if n > after || self.cursor > after || state.rev > self.joins_at {
            return Err(format!(
                "{state:?} of {n} is replayed after {after}, at message {} and change {}",
                self.cursor, self.joins_at
            ));
        }
        Ok(())
    }

    /// Checks who is named for a change.
    fn is_by(
        &self,
        log: &Log,
        room_id: RoomId,
        n: u64,
        rev: u64,
        by: Option<u64>,
    ) -> Result<(), String> {
        let past = log.past(room_id, n);
        // What it claimed to have, or reads itself, precedes the join.
        let joined_with = match self.claim.and_then(|claim| claim.rev) {
            Some(claimed) if self.changes_missed.is_none() => claimed,
            _ => self.joins_at,
        };
        let known = match self.states.get(&n) {
            Some(state) => state.rev.max(joined_with),
            // Neither did it claim to have it, nor did it arrive since.
            None => self.joins_at,
        };
        let is_new = |rev: u64| rev > known;
        let new = past
            .iter()
            .filter(|past| past.state.rev <= rev && is_new(past.state.rev));
        let latest = past.iter().find(|past| past.state.rev == rev);
        let latest = latest.and_then(|latest| latest.by);
        let is_right = match by {
            Some(_) => by == latest && new.count() <= 1,
            None => latest.is_none() || past.len() > 1,
        };
        match is_right {
            true => Ok(()),
            false => Err(format!(
                "change {rev} of {n} is by {by:?}, known was {known}"
            )),
        }
    }

    fn admitted(
        &self,
        log: &Log,
        room_id: RoomId,
        rev: u64,
        missed: Option<(u64, u64)>,
    ) -> Result<(), String> {
        if rev != self.joins_at || rev < self.rev {
            return Err(format!(
                "joinedRoom at change {rev}, which was {}, after {}",
                self.joins_at, self.rev
            ));
        }
        let Some(Claim {
            after,
            rev: Some(known),
        }) = self.claim
        else {
            return match missed {
                None => Ok(()),
                Some(missed) => Err(format!("changes {missed:?} missed, not asked for")),
            };
        };
        let to = match missed {
            Some((from, to)) if from <= known || from > to || to != rev => {
                return Err(format!(
                    "changes {from} to {to} missed after {known}, at {rev}"
                ));
            }
            Some((from, _)) => from - 1,
            None => rev,
        };
        for (n, latest) in log.latest_changes(room_id, known) {
            let has = self.states.get(&n).is_some_and(|state| state.rev >= latest);
            if n <= after && latest <= to && !has {
                return Err(format!("joinedRoom without change {latest} of {n}"));
            }
        }
        Ok(())
    }

    /// Reads what the client has to read itself, as `listMessages` and `listChanges` show it.
    fn read_missed(&mut self, log: &Log, room_id: RoomId) {
        let mut read = Vec::new();
        if let Some((from, to)) = self.missed.take() {
            read = log.states(room_id, from - 1, to);
        }
        if let Some((from, _)) = self.changes_missed.take() {
            let states = log.states(room_id, 0, self.cursor);
            read.extend(states.into_iter().filter(|(_, state)| state.rev >= from));
        }
        for (n, state) in read {
            let known = self.states.entry(n).or_insert_with(|| state.clone());
            if known.rev < state.rev {
                *known = state;
            }
        }
    }

    fn must_have(&self, n: u64, rev: u64) -> bool {
        let is_claimed = |claim: Claim| n <= claim.after && claim.rev.is_none_or(|has| rev <= has);
        rev > self.joins_at
            || self.seam.is_some_and(|seam| n > seam)
            || self.claim.is_some_and(|claim| !is_claimed(claim))
    }
}

/// Returns the states of the stored messages up to one, as of a change.
fn as_of(log: &Log, room_id: RoomId, to: u64, rev: u64) -> States {
    let stored = log.states(room_id, 0, to);
    let state = |(n, _)| (n, state_at(log, room_id, n, rev));
    stored.into_iter().map(state).collect()
}

/// Returns the state that a message had as of a change.
fn state_at(log: &Log, room_id: RoomId, n: u64, rev: u64) -> MessageState {
    let past = log.past(room_id, n);
    let latest = past.into_iter().rfind(|past| past.state.rev <= rev);
    match latest {
        Some(past) => past.state,
        None => MessageState::of(&crate::log::message(room_id, n)),
    }
}
