//! What breaks between one gateway and a server that it uses.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{DEADLINE, Stage};
use crate::cable::{Cable, Silence};
use crate::record::Reach;

/// How often a cable is asked whether a message is on its way.
const INTERVAL: Duration = Duration::from_millis(2);

impl Stage<'_> {
    fn cable(&self, node: usize) -> &Cable {
        self.nodes[node].cable.as_ref().expect("a cable")
    }

    /// Returns how many sessions broke during a call so far.
    pub(super) fn broken_calls(&self) -> u64 {
        let cables = self.nodes.iter().flat_map(|node| &node.cable);
        cables.map(Cable::broken_calls).sum()
    }

    fn any_silence(&mut self) -> Silence {
        let all = [Silence::Requests, Silence::Answers, Silence::Both];
        all[self.below(all.len() as u64) as usize]
    }

    /// Cuts a node off from Redis, in one direction or both, for a random time (in
    /// milliseconds).
    pub(crate) async fn silence_redis(&mut self, node: usize, from: u64, to: u64) {
        let silence = self.any_silence();
        self.cable(node).be_silent(silence);
        self.no_hints(&[node], from, to).await;
        self.cable(node).resume();
    }

    /// Keeps a node's requests from the database, or the answers, or both, for a random time
    /// (in milliseconds).
    pub(crate) async fn silence(&mut self, node: usize, from: u64, to: u64) {
        let silence = self.any_silence();
        // The others go on, but not so fast that the node has thousands of messages to catch up.
        self.crowd.is_calm.store(true, Ordering::Relaxed);
        self.begin_strike_on(Reach::Node(node));
        self.cable(node).be_silent(silence);
        self.stall_on(node, from, to).await;
        self.cable(node).resume();
        self.end_strike();
        self.crowd.is_calm.store(false, Ordering::Relaxed);
    }

    /// Tears a node's connections to the server during a call. For a random time (in
    /// milliseconds), the server believes that they exist, and the calls that were on their
    /// way may still be executed.
    pub(crate) async fn tear(&mut self, node: usize, from: u64, to: u64) {
        self.begin_strike_on(Reach::Node(node));
        let deadline = Instant::now() + DEADLINE;
        let before = self.broken_calls();
        while self.broken_calls() == before {
            if self.random.one_in(2) {
                let before = self.cable(node).detained();
                while self.cable(node).detained() == before {
                    assert!(Instant::now() < deadline, "no message is on its way");
                    // Also on connections that replace those that were torn before.
                    self.cable(node).detain();
                    sleep(INTERVAL).await;
                }
            }
            assert!(Instant::now() < deadline, "no call is in progress");
            self.cable(node).tear();
            self.pause(from, to).await;
            self.cable(node).release();
        }
        self.end_strike();
    }
}
