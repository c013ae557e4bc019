//! A test's figures, which become one line of output.

use std::fmt;
use std::time::Duration;

use crate::record::{Edit, Event, Evidence, History, Lag, Operation, Shown};

/// What happened in a test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// How often the fault struck in each round.
    pub(crate) strikes: Vec<u64>,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unanswered: u64,
    /// Sends that were refused because another connection had used their id.
    pub(crate) conflicts: u64,
    /// Sends that rules forbade.
    pub(crate) forbidden: u64,
    /// Changes of rules that were acknowledged, and those that were not answered.
    pub(crate) changes: u64,
    pub(crate) unanswered_changes: u64,
    /// Messages that were shown to a client after they had changed, and the number of changes.
    pub(crate) changed_shown: u64,
    pub(crate) message_changes: u64,
    /// Connections that were excluded from a room.
    pub(crate) exclusions: u64,
    pub(crate) stored: u64,
    pub(crate) received: u64,
    pub(crate) reconnects: u64,
    /// Joins of a room that the connection had joined.
    pub(crate) rejoins: u64,
    pub(crate) missed: u64,
    pub(crate) cut_off: u64,
    pub(crate) swallowed: u64,
    pub(crate) stalls: u64,
    pub(crate) terminated: u64,
    /// Database sessions that the network broke during a call.
    pub(crate) broken_calls: u64,
    /// Strikes during which nodes published no hint.
    pub(crate) hint_stalls: u64,
    /// Clients that waited in vain and connected to another node.
    pub(crate) gave_up: u64,
    /// The longest time from a message's acknowledgement to a member, while no fault struck.
    pub(crate) slowest: Duration,
    /// How late the machine woke this process at worst.
    pub(crate) lag: Duration,
}

impl Figures {
    /// Counts what the histories contain.
    pub(crate) fn of(evidence: &Evidence) -> Self {
        let mut figures = Self {
            stored: evidence.rows.len() as u64,
            message_changes: evidence.states.newest.iter().map(|(_, rev)| rev).sum(),
            lag: longest(&evidence.lags),
            ..Self::default()
        };
        for history in &evidence.histories {
            figures.count(history);
        }
        figures
    }

    fn count(&mut self, history: &History) {
        let mut connections = 0_u64;
        let mut joined = Vec::new();
        // The sends of this connection that are unanswered so far.
        let mut unanswered = 0;
        for event in history.events() {
            match event {
                Event::Connected => {
                    connections += 1;
                    joined.clear();
                    self.unanswered += std::mem::take(&mut unanswered);
                }
                Event::Joining { room, .. } => self.rejoins += u64::from(joined.contains(room)),
                Event::Left { room } => joined.retain(|joined| joined != room),
                Event::Joined(answer) => {
                    joined.push(answer.room);
                    self.missed += u64::from(answer.missed.is_some());
                }
                Event::Received(_) => self.received += 1,
                // No fault did this.
                Event::Moved => {
                    connections -= 1;
                    unanswered = 0;
                }
                Event::GaveUp => self.gave_up += 1,
                Event::Excluded { room, .. } => {
                    joined.retain(|joined| joined != room);
                    self.exclusions += 1;
                }
                Event::Edit {
                    edit: Edit::Shown { by, .. },
                    ..
                } => self.changed_shown += u64::from(*by == Shown::Change),
                Event::Changing { .. } => self.unanswered_changes += 1,
                Event::Changed { .. } => {
                    self.changes += 1;
                    self.unanswered_changes -= 1;
                }
                Event::Refused {
                    operation: Operation::Change { .. },
                    ..
                } => self.unanswered_changes -= 1,
                Event::Sent { .. } => {
                    self.sent += 1;
                    unanswered += 1;
                }
                Event::Acknowledged { .. } => {
                    self.acknowledged += 1;
                    unanswered -= 1;
                }
                Event::Refused {
                    operation: Operation::Send { .. },
                    code,
                } => {
                    unanswered -= 1;
                    match code.as_str() {
                        "conflict" => self.conflicts += 1,
                        "forbidden" | "not_found" | "not_in_room" => self.forbidden += 1,
                        _ => self.refused += 1,
                    }
                }
                _ => {}
            }
        }
        self.unanswered += unanswered;
        self.reconnects += connections.saturating_sub(1);
    }
}

fn longest(lags: &[Lag]) -> Duration {
    let lags = lags.iter().map(|lag| lag.end - lag.begin);
    lags.max().unwrap_or_default()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} strikes in {} rounds, {} sent, {} acknowledged, {} refused, {} unanswered, \
             {} conflicts, {} stored, {} received, {} reconnects, {} rejoins, {} missed, \
             {} cut off, {} acknowledgements lost, {} stalls, {} sessions terminated, \
             {} calls broken, {} stalls of hints, {} gave up, {} changes of messages, {} times received, {} changes of rules, \
             {} of them unanswered, {} exclusions, {} sends forbidden, slowest delivery {} ms, machine late by {} ms",
            self.strikes.iter().sum::<u64>(),
            self.strikes.len(),
            self.sent,
            self.acknowledged,
            self.refused,
            self.unanswered,
            self.conflicts,
            self.stored,
            self.received,
            self.reconnects,
            self.rejoins,
            self.missed,
            self.cut_off,
            self.swallowed,
            self.stalls,
            self.terminated,
            self.broken_calls,
            self.hint_stalls,
            self.gave_up,
            self.message_changes,
            self.changed_shown,
            self.changes + self.unanswered_changes,
            self.unanswered_changes,
            self.exclusions,
            self.forbidden,
            self.slowest.as_millis(),
            self.lag.as_millis(),
        )
    }
}
