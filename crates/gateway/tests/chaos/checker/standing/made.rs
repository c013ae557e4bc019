//! The changes of rules that a client made or may have made, and what it saw of rules.

use std::collections::HashMap;
use std::time::Duration;

use super::Period;
use crate::record::{Change, Event, Evidence, History, Operation, Seen};

/// Returns what a client saw of rules, with the period in which it was so.
pub(in crate::checker) fn looks(history: &History) -> Vec<(u64, &Seen, Period)> {
    let mut looks = Vec::new();
    let mut began = HashMap::new();
    for entry in &history.entries {
        match &entry.event {
            Event::Looking { room } => {
                began.insert(*room, entry.at);
            }
            Event::Looked { room, seen } => looks.push((*room, seen, [began[room], entry.at])),
            _ => {}
        }
    }
    looks
}

/// A change that was made, or may have been made.
pub(super) struct Made {
    pub(super) room: u64,
    pub(super) what: Change,
    pub(super) period: Period,
    pub(super) is_certain: bool,
}

impl Made {
    /// Returns the changes of a client, without those that were certainly not made.
    pub(super) fn all(history: &History, evidence: &Evidence) -> Vec<Self> {
        let mut all = Vec::new();
        let mut open: HashMap<u64, (u64, Change, Duration)> = HashMap::new();
        let mut add = |(room, what, begin), end, is_certain| {
            all.push(Self {
                room,
                what,
                period: [begin, end],
                is_certain,
            });
        };
        for entry in &history.entries {
            match &entry.event {
                Event::Changing { change, room, what } => {
                    open.insert(*change, (*room, *what, entry.at));
                }
                Event::Changed { change } => {
                    let made = open.remove(change).expect("a change that was sent");
                    add(made, entry.at, true);
                }
                Event::Refused {
                    operation: Operation::Change { change, .. },
                    code,
                } => {
                    let made = open.remove(change).expect("a change that was sent");
                    if code == "outcome_unknown" {
                        add(made, evidence.carried_out_by(made.2, entry.at), false);
                    }
                }
                Event::Disconnected | Event::GaveUp | Event::Moved => {
                    for (_, made) in open.drain() {
                        add(made, evidence.carried_out_by(made.2, entry.at), false);
                    }
                }
                _ => {}
            }
        }
        for (_, made) in open {
            add(made, Duration::MAX, false);
        }
        all
    }
}

impl Evidence {
    /// Returns by when a request is carried out, if at all, that was sent at `begin` and whose
    /// client knew at `end` that it would get no answer.
    fn carried_out_by(&self, begin: Duration, end: Duration) -> Duration {
        let mut end = end + self.allowed_delay(end, end);
        for window in &self.windows {
            if window.begin <= end && window.end >= begin {
                end = end.max(window.end + self.allowed_delay(window.end, window.end));
            }
        }
        end
    }
}
