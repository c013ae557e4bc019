//! The hints that nodes exchange through Redis, and what breaks them. No strike explains
//! anything: a message whose hint is lost reaches every member within the same second.

use chat_test_support::Redis;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::strikes::{IN_FLIGHT, METRICS_INTERVAL};
use super::{DEADLINE, Stage};
use crate::random::seed;
use crate::support::client::get;

impl Stage<'_> {
    /// Changes Redis.
    pub(crate) fn redis(&mut self, change: impl FnOnce(&mut Redis)) {
        let redis = self.redis.as_mut().expect("the nodes use Redis");
        block_in_place(|| change(redis));
    }

    /// Lasts for a random time (in milliseconds) in which none of these nodes may publish a
    /// hint. All of them go on.
    pub(crate) async fn no_hints(&mut self, nodes: &[usize], from: u64, to: u64) {
        sleep(IN_FLIGHT).await;
        let before = self.hints("published").await;
        self.pause(from, to).await;
        let after = self.hints("published").await;
        self.hint_stalls += u64::from(nodes.iter().all(|node| before[*node] == after[*node]));
        self.acknowledged(50).await;
        self.struck(1);
    }

    /// Waits until hints of every node are published again, and arrive at every node.
    pub(crate) async fn hints_flow(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        for what in ["published", "received"] {
            let before = self.hints(what).await;
            while self
                .hints(what)
                .await
                .iter()
                .zip(&before)
                .any(|(now, before)| now <= before)
            {
                assert!(
                    Instant::now() < deadline,
                    "{} (CHAOS_SEED={}): some nodes have not {what} hints again",
                    self.name,
                    seed()
                );
                sleep(METRICS_INTERVAL).await;
            }
        }
    }

    /// Returns how many hints each node has published or received.
    async fn hints(&self, what: &str) -> Vec<u64> {
        let name = format!("chat_hints_{what}_total ");
        let mut hints = Vec::new();
        for node in &self.nodes {
            let (_, metrics) = get(node.address(), "/metrics").await;
            let mut lines = metrics.lines();
            let number = lines.find_map(|line| line.strip_prefix(&name));
            hints.push(number.expect("the metrics of Redis").parse().unwrap());
        }
        hints
    }
}
