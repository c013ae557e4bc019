//! Latencies of deliveries on the sender's node, and of those that crossed nodes.

use crate::latency::{LatencyHistogram, Percentiles};

pub(crate) struct Apart {
    /// The node of each connection.
    nodes: Vec<usize>,
    local: LatencyHistogram,
    remote: LatencyHistogram,
}

impl Apart {
    pub(crate) fn new(nodes: Vec<usize>) -> Self {
        Self {
            nodes,
            local: LatencyHistogram::new(),
            remote: LatencyHistogram::new(),
        }
    }

    /// Returns `None` if nothing was recorded.
    pub(crate) fn local(&self) -> Option<Percentiles> {
        self.local.percentiles()
    }

    /// Returns `None` if nothing was recorded.
    pub(crate) fn remote(&self) -> Option<Percentiles> {
        self.remote.percentiles()
    }

    pub(super) fn clear(&mut self) {
        self.local.clear();
        self.remote.clear();
    }

    pub(super) fn record(&mut self, sender: u32, receiver: u32, micros: u64) {
        let node = |connection: u32| self.nodes[connection as usize];
        match node(sender) == node(receiver) {
            true => self.local.record(micros),
            false => self.remote.record(micros),
        }
    }
}
