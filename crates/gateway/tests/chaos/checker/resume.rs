//! That resume points lie between what was known before the join and what existed at its
//! answer, and that `missed` is the exception.
//!
//! A join resumes no earlier than at what any client knew to be stored when it was sent, and
//! no later than at what existed when it was answered.

use std::collections::HashMap;
use std::time::Duration;

use super::knowledge::Knowledge;
use super::{REPLAY_LIMIT, Violation};
use crate::record::{Event, Evidence, History};

pub(super) fn check(
    history: &History,
    evidence: &Evidence,
    knowledge: &Knowledge<'_>,
    violations: &mut Vec<Violation>,
) {
    let mut requested: HashMap<u64, Duration> = HashMap::new();
    for (node, entry) in history.by_node() {
        match &entry.event {
            Event::Joining { room, .. } => {
                requested.insert(*room, entry.at);
            }
            Event::Joined(joined) => {
                let from = requested.get(&joined.room).copied().unwrap_or_default();
                let [at_least, at_most] = knowledge.newest(joined.room, from, entry.at);
                if !(at_least..=at_most).contains(&joined.seq) {
                    violations.push(Violation::ResumeBounds {
                        client: history.client.clone(),
                        joined: *joined,
                        at_least,
                        at_most,
                    });
                }
                let are_few = joined
                    .missed
                    .is_some_and(|missed| missed.to < missed.from + REPLAY_LIMIT);
                let read_failed = evidence.explains.failed_reads
                    && evidence.is_struck(&history.client, node, entry.at);
                if are_few && !read_failed {
                    violations.push(Violation::FewMissed {
                        client: history.client.clone(),
                        joined: *joined,
                    });
                }
            }
            _ => {}
        }
    }
}
