//! That members have each message in its newest state: changes in order, each within a second,
//! and in the end what the database has.

use std::collections::HashMap;
use std::time::Duration;

use super::timing::{calm_from, stays};
use super::{PROMISED_DELAY, REPLAY_LIMIT, Violation};
use crate::record::{Edit, Event, Evidence, History, Shown, State, Window};

/// What all clients were shown together.
pub(super) struct Changes<'a> {
    /// By room, message and number of the change: the state, and when a client first knew it.
    known: HashMap<(u64, u64, u64), (&'a State, Duration)>,
    /// When a message may first have been deleted.
    deleting: HashMap<u64, Duration>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(evidence: &'a Evidence) -> Self {
        let mut changes = Self {
            known: HashMap::new(),
            deleting: HashMap::new(),
        };
        for (room, seq, state) in &evidence.states.messages {
            let key = (*room, *seq, state.rev);
            changes.known.insert(key, (state, Duration::MAX));
        }
        for history in &evidence.histories {
            for entry in &history.entries {
                let Event::Edit { room, edit } = &entry.event else {
                    continue;
                };
                let (times, at) = match edit {
                    Edit::Shown { seq, state, .. } => {
                        let known = changes.known.entry((*room, *seq, state.rev));
                        (&mut known.or_insert((state, entry.at)).1, entry.at)
                    }
                    Edit::Deleting { .. } => {
                        let since = changes.deleting.entry(*room);
                        (since.or_insert(entry.at), entry.at)
                    }
                    Edit::JoiningAfter { .. } | Edit::Joined { .. } => continue,
                };
                *times = at.min(*times);
            }
        }
        changes
    }

    /// Returns whether a change may be refused because its message is deleted.
    pub(super) fn may_be_deleted(&self, room: u64, by: Duration) -> bool {
        self.deleting.get(&room).is_some_and(|since| *since <= by)
    }
}

pub(super) fn check(
    history: &History,
    evidence: &Evidence,
    changes: &Changes<'_>,
    violations: &mut Vec<Violation>,
) {
    check_order(history, evidence, changes, violations);
    check_times(history, evidence, changes, violations);
    check_final(history, evidence, violations);
}

/// What a connection has in a room, from one join to the next.
#[derive(Default)]
struct Stay<'a> {
    is_joined: bool,
    /// What the join asked for.
    after: Option<(u64, u64)>,
    /// The last change, and whether a message has been replayed.
    rev: u64,
    has_messages: bool,
    states: HashMap<u64, &'a State>,
}

/// Checks the order of changes, and that every state is one that the message had.
fn check_order(
    history: &History,
    evidence: &Evidence,
    changes: &Changes<'_>,
    violations: &mut Vec<Violation>,
) {
    let mut stays: HashMap<u64, Stay<'_>> = HashMap::new();
    let client = || history.client.clone();
    for (node, entry) in history.by_node() {
        let (room, edit) = match &entry.event {
            Event::Connected => {
                stays.clear();
                continue;
            }
            Event::Joining { room, .. } => {
                stays.insert(*room, Stay::default());
                continue;
            }
            Event::Edit { room, edit } => (*room, edit),
            _ => continue,
        };
        let stay = stays.entry(room).or_default();
        match edit {
            Edit::JoiningAfter { seq, rev } => {
                stay.after = Some((*seq, *rev));
                stay.rev = *rev;
            }
            Edit::Joined { rev, missed } => {
                let are_few = missed.is_some_and(|(from, to)| to < from + REPLAY_LIMIT);
                let read_failed = evidence.explains.failed_reads
                    && evidence.is_struck(&history.client, node, entry.at);
                // A room that has come less far than the client knows is not the room.
                if *rev < stay.rev || are_few && !read_failed {
                    violations.push(Violation::ChangesAtJoin {
                        client: client(),
                        room,
                        rev: *rev,
                        missed: *missed,
                    });
                }
                stay.rev = *rev;
                stay.is_joined = true;
            }
            Edit::Shown { seq, by, state } => {
                let newest = evidence.states.newest.iter().find(|(id, _)| *id == room);
                let exists = newest.is_some_and(|(_, newest)| state.rev <= *newest);
                let known = changes.known.get(&(room, *seq, state.rev));
                if !exists || known.is_some_and(|(known, _)| *known != state) {
                    violations.push(Violation::StateNeverWas {
                        client: client(),
                        room,
                        seq: *seq,
                        state: state.clone(),
                    });
                }
                let is_in_order = match by {
                    Shown::Message => {
                        stay.has_messages = true;
                        true
                    }
                    Shown::Change if stay.is_joined => state.rev > stay.rev,
                    Shown::Change => {
                        let is_claimed = stay.after.is_some_and(|(after, _)| *seq <= after);
                        is_claimed && !stay.has_messages && state.rev > stay.rev
                    }
                    // They are not part of what the room is shown.
                    Shown::Page | Shown::Acknowledgement => continue,
                };
                let earlier = stay.states.insert(*seq, state);
                let is_older = earlier.is_some_and(|earlier| earlier.rev > state.rev);
                if !is_in_order || is_older {
                    violations.push(Violation::ChangeOutOfOrder {
                        client: client(),
                        room,
                        seq: *seq,
                        rev: state.rev,
                        after: stay.rev,
                    });
                }
                if *by == Shown::Change {
                    stay.rev = state.rev;
                }
            }
            Edit::Deleting { .. } => {}
        }
    }
}

/// Checks that a member has each change within a second of the time at which a client first knew
/// it.
fn check_times(
    history: &History,
    evidence: &Evidence,
    changes: &Changes<'_>,
    violations: &mut Vec<Violation>,
) {
    for stay in stays(history) {
        let windows: Vec<&Window> = evidence
            .windows
            .iter()
            .filter(|window| window.affects(&history.client, stay.node))
            .collect();
        let mut joined_at = None;
        // When the member had a state of a message.
        let mut had: HashMap<u64, Vec<(u64, Duration)>> = HashMap::new();
        for entry in &history.entries {
            let Event::Edit { room, edit } = &entry.event else {
                continue;
            };
            if *room != stay.room || entry.at < stay.from || entry.at > stay.to {
                continue;
            }
            match edit {
                Edit::Joined { rev, .. } if joined_at.is_none() => joined_at = Some(*rev),
                Edit::Shown {
                    seq,
                    by: Shown::Message | Shown::Change,
                    state,
                } => {
                    had.entry(*seq).or_default().push((state.rev, entry.at));
                }
                _ => {}
            }
        }
        let Some(joined_at) = joined_at else {
            continue;
        };
        for ((room, seq, rev), (_, known)) in &changes.known {
            if *room != stay.room || *rev <= joined_at || *known > stay.to {
                continue;
            }
            let states = had.get(seq).into_iter().flatten();
            let first = states.filter(|(state, _)| state >= rev).map(|(_, at)| *at);
            let at = first.min().unwrap_or(stay.to);
            let due = calm_from((*known).max(stay.from), &windows);
            let after = at.saturating_sub(due);
            if after > PROMISED_DELAY && after > evidence.allowed_delay(due, at) {
                violations.push(Violation::ChangeLate {
                    client: history.client.clone(),
                    room: *room,
                    seq: *seq,
                    rev: *rev,
                    at: due,
                    after,
                });
            }
        }
    }
}

/// Checks that the client, which always asked for what it had missed, has each message in the
/// state in which it is stored; and that each acknowledged change is stored.
fn check_final(history: &History, evidence: &Evidence, violations: &mut Vec<Violation>) {
    let mut view: HashMap<(u64, u64), &State> = HashMap::new();
    let mut acknowledged: HashMap<(u64, u64), &State> = HashMap::new();
    for event in history.events() {
        let Event::Edit {
            room,
            edit: Edit::Shown { seq, by, state },
        } = event
        else {
            continue;
        };
        let view = match by {
            Shown::Acknowledgement => &mut acknowledged,
            Shown::Message | Shown::Change | Shown::Page => &mut view,
        };
        let newest = view.entry((*room, *seq)).or_insert(state);
        if newest.rev < state.rev {
            *newest = state;
        }
    }
    let is_editor = history
        .events()
        .any(|event| matches!(event, Event::Edit { .. }));
    if !is_editor {
        return;
    }
    for (room, seq, stored) in &evidence.states.messages {
        let key = (*room, *seq);
        let differs = view.get(&key).is_none_or(|has| *has != stored);
        let is_lost = acknowledged
            .get(&key)
            .is_some_and(|made| made.rev > stored.rev);
        if differs || is_lost {
            violations.push(Violation::FinalState {
                client: history.client.clone(),
                room: *room,
                seq: *seq,
                has: view.get(&key).map(|state| (*state).clone()),
                stored: stored.clone(),
            });
        }
    }
}
