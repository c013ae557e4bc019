//! What this node does, as it reports to the other nodes, and what they report.

use std::sync::Arc;

use chat_domain::ports::{NodeRoster, NodeStats, NodeStatsSource};

use crate::clients::Clients;
use crate::gateway::Gateway;

/// What the nodes do.
pub(crate) struct Statistics {
    gateway: Arc<Gateway>,
    clients: Arc<Clients>,
    /// `None`: there is one node.
    roster: Option<Arc<dyn NodeRoster>>,
}

impl Statistics {
    /// Reports what this node does, for as long as the result lives.
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        clients: &Arc<Clients>,
        roster: Option<Arc<dyn NodeRoster>>,
    ) -> Arc<Self> {
        let statistics = Arc::new(Self {
            gateway: gateway.clone(),
            clients: clients.clone(),
            roster,
        });
        if let Some(roster) = &statistics.roster {
            let source: Arc<dyn NodeStatsSource> = statistics.clone();
            roster.report(Arc::downgrade(&source));
        }
        statistics
    }

    /// Returns what the other nodes do, up to a few seconds ago; `None` while they cannot be
    /// reached.
    pub(crate) fn of_others(&self) -> Option<Vec<NodeStats>> {
        match &self.roster {
            Some(roster) => roster.others(),
            None => Some(Vec::new()),
        }
    }
}

impl NodeStatsSource for Statistics {
    fn stats(&self) -> NodeStats {
        NodeStats {
            connections: self.clients.count() as u64,
            users: self.clients.users() as u64,
            rooms: self.gateway.rooms.count() as u64,
        }
    }
}
