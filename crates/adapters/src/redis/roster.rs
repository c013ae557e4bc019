//! What the nodes report about themselves.
//!
//! A node's report is a key, `{prefix}roster:{node}`, which expires. The set `{prefix}roster` has
//! the numbers of the nodes; whoever finds one without a report takes it out. A node that reports
//! adds itself again each time, so a mistake lasts until its next report.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chat_domain::BoxError;
use chat_domain::ports::{NodeStats, NodeStatsSource};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, cmd};
use serde::{Deserialize, Serialize};

use super::Shared;

/// How often a node reports.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// How long a report lasts, in seconds. A node that is merely slow is not taken for dead.
const REPORT_LIFETIME: u64 = 10;

/// What this node reports, and what it knows of the others.
#[derive(Default)]
pub(super) struct Roster(Mutex<State>);

#[derive(Default)]
struct State {
    source: Option<Weak<dyn NodeStatsSource>>,
    /// `None` while the server is not connected.
    others: Option<Vec<NodeStats>>,
}

#[derive(Serialize, Deserialize)]
struct Report {
    connections: u64,
    users: u64,
    rooms: u64,
}

impl Roster {
    pub(super) fn set_source(&self, source: Weak<dyn NodeStatsSource>) {
        self.state().source = Some(source);
    }

    pub(super) fn others(&self) -> Option<Vec<NodeStats>> {
        self.state().others.clone()
    }

    /// Forgets what the others reported: it grows old.
    pub(super) fn disconnected(&self) {
        self.state().others = None;
    }

    fn own(&self) -> Option<NodeStats> {
        let source = self.state().source.as_ref()?.upgrade()?;
        Some(source.stats())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports what this node does, and reads what the others reported.
pub(super) async fn exchange(
    shared: &Shared,
    commands: &mut MultiplexedConnection,
) -> Result<(), BoxError> {
    let roster = shared.channels.roster();
    let own = shared.node.number();
    let mut pipeline = Pipeline::new();
    if let Some(stats) = shared.roster.own() {
        let report = Report {
            connections: stats.connections,
            users: stats.users,
            rooms: stats.rooms,
        };
        pipeline
            .cmd("SET")
            .arg(shared.channels.report(own))
            .arg(serde_json::to_vec(&report)?)
            .arg("EX")
            .arg(REPORT_LIFETIME)
            .ignore();
        pipeline.cmd("SADD").arg(&roster).arg(own).ignore();
    }
    pipeline.cmd("SMEMBERS").arg(&roster);
    let (mut nodes,): (Vec<String>,) = pipeline.query_async(commands).await?;
    nodes.retain(|node| node != own);
    let mut others = Vec::new();
    if !nodes.is_empty() {
        let mut read = cmd("MGET");
        for node in &nodes {
            read.arg(shared.channels.report(node));
        }
        let reports: Vec<Option<Vec<u8>>> = read.query_async(commands).await?;
        let mut gone = cmd("SREM");
        gone.arg(&roster);
        let mut any_gone = false;
        for (node, report) in nodes.iter().zip(reports) {
            let report = report.and_then(|report| serde_json::from_slice::<Report>(&report).ok());
            match report {
                Some(report) => others.push(NodeStats {
                    connections: report.connections,
                    users: report.users,
                    rooms: report.rooms,
                }),
                None => {
                    gone.arg(node);
                    any_gone = true;
                }
            }
        }
        if any_gone {
            let () = gone.query_async(commands).await?;
        }
    }
    shared.roster.state().others = Some(others);
    Ok(())
}
