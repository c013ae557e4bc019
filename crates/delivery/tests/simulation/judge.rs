//! The judge: compares everything that is handed to a client with the promises, at every
//! step.
//!
//! - Promise 2 and 5: within a stay, messages arrive in order, each once, and none that is
//!   stored is skipped. A replay hands over exactly what is missing; what it cannot is
//!   reported as missed.
//! - Promise 6: after leaving, nothing from the room arrives.
//! - Promise 7: nothing arrives from a room that the client has not joined.
//! - Promise 8: what a client makes of the messages and changes that it is handed (`views.rs`).
//! - Promise 9: a client that is excluded is handed a farewell, and nothing from the room
//!   after it until it joins again. The listener of rules learns of each change that is made
//!   while a client is in the room, before the change is handed to any.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use chat_domain::RoomId;
use tokio::time::Instant;

use crate::frames::{Frame, MessageState};
use crate::log::Log;
use crate::views::{Claim, States, Views};

/// What one client has of one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// It asked to join and to catch up after this number; so far it has been handed the
    /// messages up to the second.
    Joining {
        after: Option<u64>,
        cursor: u64,
        /// How many reads had failed or were stale before.
        faulty_reads: u64,
    },
    /// It is in the room and has everything up to this number.
    Joined { cursor: u64 },
}

/// Observes what all clients are handed.
pub(crate) struct Judge {
    pub(crate) log: Arc<Log>,
    pub(crate) state: Mutex<State>,
    began: Instant,
}

#[derive(Default)]
pub(crate) struct State {
    stays: BTreeMap<(u64, RoomId), Stay>,
    /// The newest read pointer of each user that a client was handed in its stay.
    pointers: BTreeMap<(u64, RoomId, u64), u64>,
    /// The newest change of rules about each user, 0 for the room, that a client was handed
    /// in its stay.
    changes: BTreeMap<(u64, RoomId, u64), u64>,
    /// What the clients make of what they are handed.
    views: Views,
    /// The number of the rules when a stay began.
    rules_at_join: BTreeMap<(u64, RoomId), u64>,
    /// The newest number of each room's rules that the listener was told.
    pub(crate) told: BTreeMap<RoomId, u64>,
    /// The client that is being excluded from a room, until it has its farewell.
    excluding: Option<(u64, RoomId)>,
    /// Clients that were excluded from a room and have not begun to join it again.
    excluded: BTreeSet<(u64, RoomId)>,
    trace: Vec<String>,
    violations: Vec<String>,
}

impl Judge {
    pub(crate) fn new(log: Arc<Log>) -> Arc<Self> {
        Arc::new(Self {
            log,
            state: Mutex::default(),
            began: Instant::now(),
        })
    }

    /// Notes something in the trace.
    pub(crate) fn note(&self, what: impl std::fmt::Display) {
        let mut state = self.state.lock().unwrap();
        let line = format!("{:?} {what}", self.began.elapsed());
        state.trace.push(line);
    }

    /// A client begins to ask whether it may join.
    pub(crate) fn begins_to_join(&self, client: u64, room_id: RoomId) {
        self.state
            .lock()
            .unwrap()
            .excluded
            .remove(&(client, room_id));
    }

    /// Returns what a client, or one that has vanished, has of a room.
    pub(crate) fn has(&self, client: u64, room_id: RoomId) -> Option<(Claim, States)> {
        let mut state = self.state.lock().unwrap();
        state.views.has(&self.log, (client, room_id))
    }

    /// A client asks to join and to catch up from what it claims to have, in these states if it
    /// has any, when the room's newest change is `rev`. Nothing of an earlier stay may arrive once
    /// it catches up.
    pub(crate) fn joins(
        &self,
        client: u64,
        room_id: RoomId,
        claim: Option<Claim>,
        rev: u64,
        states: Option<States>,
    ) {
        let mut state = self.state.lock().unwrap();
        let key = (client, room_id);
        let after = claim.map(|claim| claim.after);
        match (after, state.stays.get(&key)) {
            // Without catching up, it stays until it is admitted anew.
            (None, Some(Stay::Joined { .. })) => {}
            // Its join was ended before it asked.
            _ if state.excluded.contains(&key) => {}
            _ => {
                let joining = Stay::Joining {
                    after,
                    cursor: after.unwrap_or_default(),
                    faulty_reads: self.log.faulty_reads(),
                };
                state.stays.insert(key, joining);
            }
        }
        state.views.joins(&self.log, key, claim, rev, states);
    }

    /// A client has left, or its join has failed.
    pub(crate) fn left(&self, client: u64, room_id: RoomId) {
        self.state.lock().unwrap().stays.remove(&(client, room_id));
    }

    /// The join of a client has succeeded.
    pub(crate) fn is_admitted(&self, client: u64, room_id: RoomId) {
        let state = self.state.lock().unwrap();
        let stay = state.stays.get(&(client, room_id)).copied();
        drop(state);
        if !matches!(stay, Some(Stay::Joined { .. })) {
            self.accuse(format!(
                "client {client} is admitted to {room_id}: {stay:?}"
            ));
        }
    }

    /// Excludes a client from a room.
    pub(crate) fn exclude(&self, client: u64, room_id: RoomId, exclude: impl FnOnce() -> bool) {
        self.note(format_args!("{client} is excluded from {room_id}"));
        let key = (client, room_id);
        self.state.lock().unwrap().excluding = Some(key);
        let is_excluded = exclude();
        let mut state = self.state.lock().unwrap();
        let has_farewell = state.excluding.take().is_none();
        let is_in_the_room = state.stays.contains_key(&key);
        drop(state);
        if is_excluded != has_farewell || is_in_the_room {
            self.accuse(format!(
                "client {client} excluded from {room_id}: {is_excluded}, \
                 farewell: {has_farewell}, still there: {is_in_the_room}"
            ));
        }
    }

    /// A client is handed a frame.
    pub(crate) fn handed(&self, client: u64, frame: Frame) {
        self.note(format_args!("{client} {frame:?}"));
        let mut state = self.state.lock().unwrap();
        if let Err(violation) = self.check(&mut state, client, &frame) {
            let at = self.began.elapsed();
            state
                .violations
                .push(format!("{at:?} client {client}: {violation}"));
        }
    }

    fn check(&self, state: &mut State, client: u64, frame: &Frame) -> Result<(), String> {
        let room_id = frame.room_id();
        let key = (client, room_id);
        if state.excluded.contains(&key) {
            return Err(format!("{frame:?} arrives after the farewell"));
        }
        if let Frame::Farewell { .. } = frame {
            state.excluded.insert(key);
            state.stays.remove(&key);
            return match state.excluding.take_if(|excluding| *excluding == key) {
                Some(_) => Ok(()),
                None => Err(format!("{frame:?} arrives and it was not excluded")),
            };
        }
        let Some(stay) = state.stays.get(&(client, room_id)).copied() else {
            return Err(format!("{frame:?} from a room that it has not joined"));
        };
        state.views.take(&self.log, key, frame)?;
        let next = match (frame.clone(), stay) {
            (Frame::Message { seq, .. }, Stay::Joining { after: None, .. }) => {
                return Err(format!("{seq} arrives before joinedRoom"));
            }
            (
                Frame::Message { seq, .. },
                Stay::Joining {
                    after,
                    cursor,
                    faulty_reads,
                },
            ) => {
                self.follows(room_id, cursor, seq)?;
                Stay::Joining {
                    after,
                    cursor: seq,
                    faulty_reads,
                }
            }
            (Frame::Message { seq, .. }, Stay::Joined { cursor }) => {
                self.follows(room_id, cursor, seq)?;
                Stay::Joined { cursor: seq }
            }
            (Frame::ReadPointer { user, seq, .. }, Stay::Joined { cursor }) => {
                let newest = state.pointers.insert((client, room_id, user), seq);
                if let Some(newest) = newest.filter(|newest| seq <= *newest) {
                    return Err(format!("markedRead {seq} of {user} arrives after {newest}"));
                }
                // Everything up to it has arrived, but for deleted messages.
                self.nothing_between(room_id, cursor, seq)
                    .map_err(|lacking| format!("markedRead {seq} arrives before {lacking}"))?;
                stay
            }
            (Frame::RulesChange { user, rules, .. }, Stay::Joined { .. }) => {
                let newest = state.changes.insert((client, room_id, user), rules);
                if let Some(newest) = newest.filter(|newest| rules <= *newest) {
                    return Err(format!("{frame:?} arrives after {newest}"));
                }
                if state.told.get(&room_id).is_none_or(|told| *told < rules) {
                    return Err(format!("{frame:?} arrives and the listener was not told"));
                }
                stay
            }
            (Frame::MessageChanged { seq, .. }, Stay::Joined { cursor }) if seq > cursor => {
                return Err(format!("{frame:?} arrives at {cursor}"));
            }
            (Frame::MessageChanged { .. }, _) => stay,
            (Frame::ReadPointer { .. } | Frame::RulesChange { .. }, Stay::Joining { .. }) => {
                return Err(format!("{frame:?} arrives before joinedRoom"));
            }
            (Frame::Farewell { .. }, _) => unreachable!("it was judged above"),
            (
                Frame::Joined {
                    seam,
                    missed,
                    changes_missed,
                    ..
                },
                stay,
            ) => {
                self.admitted(room_id, seam, missed, stay)?;
                // Only faulty reads explain that changes are missed.
                if let (Some(missed), Stay::Joining { faulty_reads, .. }) = (changes_missed, stay)
                    && self.log.faulty_reads() == faulty_reads
                {
                    return Err(format!(
                        "changes {missed:?} missed although every read was well"
                    ));
                }
                let is_other = |(c, r, _): &(u64, RoomId, u64)| (*c, *r) != (client, room_id);
                state.pointers.retain(|key, _| is_other(key));
                state.changes.retain(|key, _| is_other(key));
                state.rules_at_join.insert(key, self.log.rules(room_id));
                Stay::Joined { cursor: seam }
            }
        };
        state.stays.insert((client, room_id), next);
        Ok(())
    }

    /// Checks that a message is the next one that is stored after the cursor.
    fn follows(&self, room_id: RoomId, cursor: u64, seq: u64) -> Result<(), String> {
        if seq <= cursor {
            return Err(format!("{seq} arrives after {cursor}"));
        }
        if seq > self.log.newest(room_id) {
            return Err(format!("{seq} arrives and is not stored"));
        }
        self.nothing_between(room_id, cursor, seq - 1)
            .map_err(|lacking| format!("{seq} arrives after {cursor} without {lacking}"))
    }

    /// Checks that no message is stored in the range.
    ///
    /// # Errors
    /// The first that is.
    fn nothing_between(&self, room_id: RoomId, after: u64, to: u64) -> Result<(), u64> {
        match self.log.first_between(room_id, after, to) {
            Some(first) => Err(first),
            None => Ok(()),
        }
    }

    fn admitted(
        &self,
        room_id: RoomId,
        seam: u64,
        missed: Option<(u64, u64)>,
        stay: Stay,
    ) -> Result<(), String> {
        let newest = self.log.newest(room_id);
        if seam > newest {
            return Err(format!("joinedRoom at {seam}, beyond the newest {newest}"));
        }
        let Stay::Joining {
            after: Some(after),
            cursor,
            faulty_reads,
        } = stay
        else {
            return match missed {
                None => Ok(()),
                Some(missed) => Err(format!("{missed:?} missed that was not asked for")),
            };
        };
        if seam < after.min(newest) {
            return Err(format!(
                "joinedRoom at {seam}, before {after}, which it had"
            ));
        }
        let Some((from, to)) = missed else {
            return self
                .nothing_between(room_id, cursor, seam)
                .map_err(|lacking| format!("joinedRoom at {seam} without {lacking}"));
        };
        if self.log.faulty_reads() == faulty_reads {
            return Err(format!("{missed:?} missed although every read was well"));
        }
        if to != seam || from <= after {
            return Err(format!("{missed:?} missed at {seam}, after {after}"));
        }
        self.nothing_between(room_id, cursor, from - 1)
            .map_err(|lacking| format!("missed from {from} without {lacking}"))
    }

    /// Checks that a client in the room has everything that is stored, in these newest states, and
    /// that the listener was told of the rules that were made meanwhile.
    ///
    /// # Errors
    /// What it lacks.
    pub(crate) fn is_up_to_date(
        &self,
        client: u64,
        room_id: RoomId,
        stored: &[(u64, MessageState)],
    ) -> Result<(), String> {
        let mut state = self.state.lock().unwrap();
        let known = [
            state.told.get(&room_id),
            state.rules_at_join.get(&(client, room_id)),
        ];
        let is_told = known.into_iter().flatten().max() >= Some(&self.log.rules(room_id));
        let newest = self.log.newest(room_id);
        match state.stays.get(&(client, room_id)) {
            Some(Stay::Joined { .. }) if !is_told => Err("the listener of rules".to_owned()),
            Some(Stay::Joined { cursor }) => {
                let lacking = self.nothing_between(room_id, *cursor, newest);
                lacking.map_err(|n| format!("message {n}"))?;
                let key = (client, room_id);
                state.views.is_up_to_date(&self.log, key, stored)
            }
            Some(Stay::Joining { .. }) => Err("its admission".to_owned()),
            None => Ok(()),
        }
    }

    /// Returns the rooms that a client has joined or is joining.
    pub(crate) fn rooms_of(&self, client: u64) -> Vec<RoomId> {
        let state = self.state.lock().unwrap();
        let stays = state.stays.keys().filter(|(id, _)| *id == client);
        stays.map(|(_, room_id)| *room_id).collect()
    }

    /// Reports a violation that the judge did not see in a frame.
    pub(crate) fn accuse(&self, violation: String) {
        self.state.lock().unwrap().violations.push(violation);
    }

    pub(crate) fn first_violation(&self) -> Option<String> {
        self.state.lock().unwrap().violations.first().cloned()
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().trace)
    }
}
