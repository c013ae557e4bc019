//! That resume points lie between what was known before the join and what existed at its
//! answer, and that `missed` is the exception.
//!
//! A join with `afterSeq` resumes no earlier than there. A join without it resumes no earlier
//! than what must have reached every member when the client joined: a message may be
//! acknowledged up to a second before the room hands it out.

use std::collections::HashMap;
use std::time::Duration;

use super::knowledge::Knowledge;
use super::{PROMISED_DELAY, REPLAY_LIMIT, Violation};
use crate::record::{Event, Evidence, History};

pub(super) fn check(
    history: &History,
    evidence: &Evidence,
    knowledge: &Knowledge<'_>,
    violations: &mut Vec<Violation>,
) {
    let mut requested: HashMap<u64, (Duration, Option<u64>)> = HashMap::new();
    for entry in &history.entries {
        match &entry.event {
            Event::Joining { room, after } => {
                requested.insert(*room, (entry.at, *after));
            }
            Event::Joined(joined) => {
                let request = requested.get(&joined.room).copied();
                let (from, after) = request.unwrap_or_default();
                let [known, at_most] = knowledge.newest(joined.room, from, entry.at);
                let [settled, _] = knowledge.newest(joined.room, settled(evidence, from), from);
                let at_least = settled.max(after.unwrap_or(0).min(known));
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
                let read_failed =
                    evidence.explains.failed_reads && evidence.is_struck(&history.client, entry.at);
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

/// Returns the time up to which everything must have reached every member at this time.
fn settled(evidence: &Evidence, time: Duration) -> Duration {
    let allowed = evidence.allowed_delay(time.saturating_sub(PROMISED_DELAY), time);
    let mut settled = time.saturating_sub(allowed);
    for window in evidence.windows.iter().rev() {
        if window.clients.is_none() && window.begin < time && window.end > settled {
            settled = window.begin.saturating_sub(allowed);
        }
    }
    settled
}
