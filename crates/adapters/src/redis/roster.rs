//! What the nodes report about themselves.
//!
//! Every node publishes its report to one channel and keeps the latest of each other node for a
//! while. Nothing is stored in Redis, and its user needs no further permission for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chat_domain::BoxError;
use chat_domain::ports::{NodeStats, NodeStatsSource};
use redis::aio::MultiplexedConnection;
use redis::cmd;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Shared;
use super::channels::Channel;

/// How often a node reports.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// How long a report lasts. A node that is merely slow is not taken for dead.
const REPORT_LIFETIME: Duration = Duration::from_secs(10);
/// How long a node that has just connected waits for the reports of the others.
const FIRST_REPORTS: Duration = Duration::from_secs(3);
/// Of how many nodes reports are kept: more must not cost memory.
const MAX_NODES: usize = 1000;

/// What this node reports, and what the others have reported.
#[derive(Default)]
pub(super) struct Roster(Mutex<State>);

#[derive(Default)]
struct State {
    source: Option<Weak<dyn NodeStatsSource>>,
    /// Since when the server is connected.
    connected: Option<Instant>,
    /// By the node's number.
    others: HashMap<String, (Instant, NodeStats)>,
}

/// A report, as it is published.
#[derive(Serialize, Deserialize)]
struct Report<'a> {
    node: &'a str,
    connections: u64,
    users: u64,
    rooms: u64,
}

impl Roster {
    pub(super) fn set_source(&self, source: Weak<dyn NodeStatsSource>) {
        self.state().source = Some(source);
    }

    pub(super) fn others(&self) -> Option<Vec<NodeStats>> {
        let mut state = self.state();
        if state.connected?.elapsed() < FIRST_REPORTS {
            return None;
        }
        state.forget_old();
        Some(state.others.values().map(|(_, stats)| *stats).collect())
    }

    pub(super) fn connected(&self) {
        self.state().connected = Some(Instant::now());
    }

    pub(super) fn disconnected(&self) {
        self.state().connected = None;
    }

    /// Takes what a node has published. Returns whether it could be read.
    pub(super) fn receive(&self, own: &str, payload: &[u8]) -> bool {
        let Ok(report) = serde_json::from_slice::<Report<'_>>(payload) else {
            return false;
        };
        if report.node == own {
            return true;
        }
        let stats = NodeStats {
            connections: report.connections,
            users: report.users,
            rooms: report.rooms,
        };
        let mut state = self.state();
        state.forget_old();
        if state.others.len() < MAX_NODES || state.others.contains_key(report.node) {
            let latest = (Instant::now(), stats);
            state.others.insert(report.node.to_owned(), latest);
        }
        true
    }

    fn own(&self) -> Option<NodeStats> {
        let source = self.state().source.as_ref()?.upgrade()?;
        Some(source.stats())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_old(&mut self) {
        self.others
            .retain(|_, (received, _)| received.elapsed() < REPORT_LIFETIME);
    }
}

/// Reports what this node does.
pub(super) async fn report(
    shared: &Shared,
    commands: &mut MultiplexedConnection,
) -> Result<(), BoxError> {
    let Some(stats) = shared.roster.own() else {
        return Ok(());
    };
    let report = Report {
        node: shared.node.number(),
        connections: stats.connections,
        users: stats.users,
        rooms: stats.rooms,
    };
    let () = cmd("PUBLISH")
        .arg(shared.channels.name(Channel::Reports))
        .arg(serde_json::to_vec(&report)?)
        .query_async(commands)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const ROOMS: &[u8] = br#"{"node":"b","connections":3,"users":2,"rooms":1}"#;

    #[tokio::test(start_paused = true)]
    async fn the_others_are_unknown_until_they_have_had_time_to_report() {
        let roster = Roster::default();
        assert!(roster.receive("a", ROOMS));
        assert_eq!(roster.others(), None);
        roster.connected();
        assert_eq!(roster.others(), None);
        advance(FIRST_REPORTS).await;
        let stats = NodeStats {
            connections: 3,
            users: 2,
            rooms: 1,
        };
        assert_eq!(roster.others(), Some(vec![stats]));
        roster.disconnected();
        assert_eq!(roster.others(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_report_is_forgotten() {
        let roster = Roster::default();
        roster.connected();
        assert!(roster.receive("a", ROOMS));
        advance(REPORT_LIFETIME).await;
        assert_eq!(roster.others(), Some(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_nodes_own_report_and_one_that_cannot_be_read_are_passed_over() {
        let roster = Roster::default();
        roster.connected();
        advance(FIRST_REPORTS).await;
        assert!(roster.receive("b", ROOMS));
        assert!(!roster.receive("a", b"{}"));
        assert_eq!(roster.others(), Some(Vec::new()));
        for node in 0..2 * MAX_NODES {
            let report = format!(r#"{{"node":"{node}","connections":1,"users":1,"rooms":1}}"#);
            assert!(roster.receive("a", report.as_bytes()));
        }
        assert_eq!(roster.others().unwrap().len(), MAX_NODES);
    }
}
