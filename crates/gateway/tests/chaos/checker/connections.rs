//! That the fault explains every connection that ended, and that a gateway that shuts down
//! answers what is in progress.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Violation;
use super::attempts::{Answer, Attempt};
use crate::record::{Breaks, Event, Evidence, History};

/// Checks that no more connections ended than the proxy broke.
pub(super) fn check_total(evidence: &Evidence, violations: &mut Vec<Violation>) {
    let events = evidence.histories.iter().flat_map(History::events);
    let ended = events.filter(|event| ended(event)).count() as u64;
    if evidence.explains.breaks == Breaks::ByProxy && ended > evidence.broken {
        violations.push(Violation::DisconnectedTooOften {
            ended,
            broken: evidence.broken,
        });
    }
}

fn ended(event: &Event) -> bool {
    matches!(event, Event::Disconnected | Event::NotConnected)
}

pub(super) fn check(
    history: &History,
    attempts: &[Attempt<'_>],
    evidence: &Evidence,
    violations: &mut Vec<Violation>,
) {
    for (node, entry) in history.by_node() {
        let (client, at) = (history.client.clone(), entry.at);
        if matches!(entry.event, Event::GaveUp) && !may_give_up(&client, node, at, evidence) {
            violations.push(Violation::WaitedInVain { client, at });
            continue;
        }
        if !ended(&entry.event) {
            continue;
        }
        let is_explained = match evidence.explains.breaks {
            Breaks::Nothing => false,
            Breaks::Affected => evidence.is_struck(&client, node, at),
            Breaks::ByProxy => true,
        };
        if !is_explained {
            violations.push(Violation::Disconnected { client, at });
        }
    }
    check_answers(history, attempts, evidence, violations);
}

/// Returns whether a fault, or a machine that was late, explains that no answer came.
fn may_give_up(client: &str, node: usize, at: Duration, evidence: &Evidence) -> bool {
    let waited = evidence.patience.unwrap_or_default();
    evidence.is_struck(client, node, at)
        || evidence.allowed_delay(at.saturating_sub(waited), at) > waited
}

/// Checks the connections that a shutdown ended. A send is certainly in progress if a later
/// event was answered, or if it was sent well before the shutdown.
fn check_answers(
    history: &History,
    attempts: &[Attempt<'_>],
    evidence: &Evidence,
    violations: &mut Vec<Violation>,
) {
    let mut on_connection: BTreeMap<usize, Vec<&Attempt<'_>>> = BTreeMap::new();
    for attempt in attempts {
        let sent = on_connection.entry(attempt.connection);
        sent.or_default().push(attempt);
    }
    let mut connection = 0;
    for (node, entry) in history.by_node() {
        if matches!(entry.event, Event::Connected) {
            connection += 1;
        }
        if !matches!(entry.event, Event::Disconnected) {
            continue;
        }
        let shutdown = evidence.windows.iter().find(|window| {
            window.is_graceful
                && window.affects(&history.client, node)
                && evidence.is_within(window, entry.at)
        });
        let (Some(shutdown), Some(sent)) = (shutdown, on_connection.get(&connection)) else {
            continue;
        };
        let mut later_answered = false;
        for attempt in sent.iter().rev() {
            if attempt.answer != Answer::None {
                later_answered = true;
            } else if later_answered
                || attempt.at + evidence.allowed_delay(attempt.at, shutdown.begin) < shutdown.begin
            {
                violations.push(Violation::Unanswered {
                    client: history.client.clone(),
                    content: attempt.content.to_owned(),
                });
            }
        }
    }
}
