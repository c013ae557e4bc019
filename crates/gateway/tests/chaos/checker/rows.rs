//! The rows by themselves, and that each row was sent.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Violation;
use crate::record::{Event, Evidence};

pub(super) fn check(evidence: &Evidence, violations: &mut Vec<Violation>) {
    let mut sent = HashSet::new();
    for history in &evidence.histories {
        for event in history.events() {
            if let Event::Sent {
                room,
                client_message_id,
                content,
                ..
            } = event
            {
                sent.insert((&history.user, *room, client_message_id, content));
            }
        }
    }
    let mut ids = HashSet::new();
    let mut contents = HashSet::new();
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    for row in &evidence.rows {
        if !sent.contains(&(&row.user, row.room, &row.client_message_id, &row.content)) {
            violations.push(Violation::NeverSent { row: row.clone() });
        }
        let id = row.client_message_id.as_ref();
        let new_id = id.is_none_or(|id| ids.insert((&row.user, row.room, id)));
        if !contents.insert(&row.content) || !new_id {
            violations.push(Violation::StoredTwice { row: row.clone() });
        }
        let last = newest.entry(row.room).or_default();
        if row.seq != *last + 1 {
            violations.push(Violation::Gap {
                room: row.room,
                expected: *last + 1,
                row: row.seq,
            });
        }
        *last = row.seq;
    }
    let counters: BTreeMap<u64, u64> = evidence.counters.iter().copied().collect();
    let rooms: BTreeSet<u64> = newest.keys().chain(counters.keys()).copied().collect();
    for room in rooms {
        let counter = counters.get(&room).copied().unwrap_or(0);
        let newest = newest.get(&room).copied().unwrap_or(0);
        if counter != newest {
            violations.push(Violation::Counter {
                room,
                counter,
                newest,
            });
        }
    }
}
