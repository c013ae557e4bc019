//! That members have each message within a second of the time at which a client first knew it.

use std::collections::HashMap;
use std::time::Duration;

use super::knowledge::Knowledge;
use super::{PROMISED_DELAY, Violation};
use crate::record::{Event, Evidence, History, Window};

/// A connection's stay in a room, from `joinedRoom` to the request to leave or to join again, to
/// its exclusion, or to the end of the connection.
pub(super) struct Stay {
    pub(super) node: usize,
    pub(super) room: u64,
    seq: u64,
    pub(super) from: Duration,
    pub(super) to: Duration,
    received: HashMap<u64, Duration>,
}

/// A message that a member must have.
struct Delivery {
    room: u64,
    seq: u64,
    /// When the second begins: the message is known, the member has joined, and no fault
    /// that affects it strikes before the second is over.
    due: Duration,
    /// When the member had the message, or when its stay ended.
    at: Duration,
}

impl Delivery {
    fn took(&self) -> Duration {
        self.at.saturating_sub(self.due)
    }
}

pub(super) fn check(
    history: &History,
    evidence: &Evidence,
    knowledge: &Knowledge<'_>,
    violations: &mut Vec<Violation>,
) {
    for delivery in deliveries(history, evidence, knowledge) {
        let after = delivery.took();
        if after > PROMISED_DELAY && after > evidence.allowed_delay(delivery.due, delivery.at) {
            violations.push(Violation::Late {
                client: history.client.clone(),
                room: delivery.room,
                seq: delivery.seq,
                at: delivery.due,
                after,
            });
        }
    }
}

/// Returns the longest time that a delivery took while no fault struck.
pub(crate) fn slowest_delivery(evidence: &Evidence) -> Duration {
    let knowledge = Knowledge::new(evidence);
    let histories = evidence.histories.iter();
    histories
        .flat_map(|history| deliveries(history, evidence, &knowledge))
        .map(|delivery| delivery.took())
        .max()
        .unwrap_or_default()
}

fn deliveries(history: &History, evidence: &Evidence, knowledge: &Knowledge<'_>) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for stay in stays(history) {
        let windows: Vec<&Window> = evidence
            .windows
            .iter()
            .filter(|window| window.affects(&history.client, stay.node))
            .collect();
        // Not every message was answered, and acknowledgements may cross a little.
        let mut unknown = 0;
        for seq in stay.seq + 1.. {
            let Some(known) = knowledge.first_known(stay.room, seq) else {
                unknown += 1;
                if unknown > 1000 {
                    break;
                }
                continue;
            };
            let received = stay.received.get(&seq);
            if received.is_none() && known > stay.to {
                break;
            }
            deliveries.push(Delivery {
                room: stay.room,
                seq,
                due: calm_from(known.max(stay.from), &windows),
                at: received.copied().unwrap_or(stay.to),
            });
        }
    }
    deliveries
}

/// Returns the beginning of the first second from this time on in which no fault strikes.
pub(super) fn calm_from(mut time: Duration, windows: &[&Window]) -> Duration {
    for window in windows {
        if window.begin < time + PROMISED_DELAY && window.end > time {
            time = window.end;
        }
    }
    time
}

pub(super) fn stays(history: &History) -> Vec<Stay> {
    let mut stays = Vec::new();
    let mut open: HashMap<u64, Stay> = HashMap::new();
    let mut end = |stay: Option<Stay>, to| stays.extend(stay.map(|stay| Stay { to, ..stay }));
    for (node, entry) in history.by_node() {
        match &entry.event {
            Event::Joined(joined) => {
                let stay = Stay {
                    node,
                    room: joined.room,
                    seq: joined.seq,
                    from: entry.at,
                    to: entry.at,
                    received: HashMap::new(),
                };
                end(open.insert(joined.room, stay), entry.at);
            }
            Event::Joining { room, .. }
            | Event::Leaving { room }
            | Event::Excluded { room, .. } => {
                end(open.remove(room), entry.at);
            }
            Event::Received(message) => {
                if let Some(stay) = open.get_mut(&message.room) {
                    stay.received.entry(message.seq).or_insert(entry.at);
                }
            }
            Event::Connected | Event::Disconnected | Event::GaveUp | Event::Moved => {
                for (_, stay) in open.drain() {
                    end(Some(stay), entry.at);
                }
            }
            _ => {}
        }
    }
    let last = history
        .entries
        .last()
        .map_or(Duration::ZERO, |last| last.at);
    for (_, stay) in open.drain() {
        end(Some(stay), last);
    }
    stays
}
