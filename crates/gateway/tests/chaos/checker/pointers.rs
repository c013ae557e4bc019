//! That read pointers, as clients are shown them and as they are stored, follow from what was
//! sent and marked.

use std::collections::HashMap;
use std::time::Duration;

use super::Violation;
use super::knowledge::Knowledge;
use crate::record::{Event, Evidence, History};

/// Checks the stored pointers.
pub(super) fn check_stored(
    evidence: &Evidence,
    knowledge: &Knowledge<'_>,
    violations: &mut Vec<Violation>,
) {
    let mut stored: HashMap<(u64, &str), u64> = knowledge
        .pointers()
        .map(|(room, user)| ((room, user), 0))
        .collect();
    for pointer in &evidence.pointers {
        stored.insert((pointer.room, &pointer.user), pointer.seq);
    }
    for ((room, user), stored) in stored {
        let known = knowledge.pointer_of(room, user);
        let [mut at_least, at_most] =
            known.map_or([0, 0], |known| known.bounds(Duration::MAX, Duration::MAX));
        let own = evidence.rows.iter().rev();
        let mut own = own.filter(|row| row.room == room && row.user == user);
        at_least = at_least.max(own.next().map_or(0, |row| row.seq));
        if !(at_least..=at_most).contains(&stored) {
            violations.push(Violation::StoredPointer {
                room,
                user: user.to_owned(),
                stored,
                expected: [at_least, at_most],
            });
        }
    }
}

/// Checks the pointers that a client was shown.
pub(super) fn check(history: &History, knowledge: &Knowledge<'_>, violations: &mut Vec<Violation>) {
    let bounds = |room, from, to| {
        let known = knowledge.pointer_of(room, &history.user);
        known.map_or([0, 0], |known| known.bounds(from, to))
    };
    let mut joining: HashMap<u64, Duration> = HashMap::new();
    let mut marking: HashMap<(u64, u64), Duration> = HashMap::new();
    for entry in &history.entries {
        match &entry.event {
            Event::Joining { room, .. } => {
                joining.insert(*room, entry.at);
            }
            Event::Joined(joined) => {
                let from = joining.get(&joined.room).copied().unwrap_or_default();
                let [at_least, at_most] = bounds(joined.room, from, entry.at);
                if !(at_least..=at_most).contains(&joined.read)
                    || joined.unread != joined.seq.saturating_sub(joined.read)
                {
                    violations.push(Violation::ReadState {
                        client: history.client.clone(),
                        room: joined.room,
                        read: joined.read,
                        unread: joined.unread,
                        expected: [at_least, at_most],
                    });
                }
            }
            Event::Marking { room, seq } => {
                marking.insert((*room, *seq), entry.at);
            }
            Event::Marked {
                room,
                requested,
                seq,
                unread,
            } => {
                let from = marking.get(&(*room, *requested)).copied();
                let from = from.unwrap_or_default();
                let [at_least, at_most] = bounds(*room, from, entry.at);
                let at_least = at_least.max(*requested);
                let [oldest, newest] = knowledge.newest(*room, from, entry.at);
                if !(at_least..=at_most).contains(seq)
                    || !(oldest..=newest).contains(&(seq + unread))
                {
                    violations.push(Violation::ReadState {
                        client: history.client.clone(),
                        room: *room,
                        read: *seq,
                        unread: *unread,
                        expected: [at_least, at_most],
                    });
                }
            }
            Event::MarkedRead { room, user, seq } => {
                let known = knowledge.pointer_of(*room, user);
                if known.is_none_or(|known| *seq > known.newest_marked(entry.at)) {
                    violations.push(Violation::ReadPointer {
                        client: history.client.clone(),
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
