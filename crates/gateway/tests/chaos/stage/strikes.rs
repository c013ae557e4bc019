//! What strikes: each method has its effect before it returns, and records when it struck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{CLIENTS, DEADLINE, Stage, home, is_up_to_date};
use crate::client::{Progress, Role};
use crate::random::seed;
use crate::record::{Reach, Window};
use crate::support::metrics::connections;

/// How long answers that the gateway has given may be on their way.
pub(super) const IN_FLIGHT: Duration = Duration::from_millis(200);
/// How often the gateway's metrics are read while a test waits for them.
pub(super) const METRICS_INTERVAL: Duration = Duration::from_millis(100);

impl Stage<'_> {
    /// Begins a strike on everything.
    pub(crate) fn begin_strike(&mut self) {
        self.begin_strike_on(Reach::Everything);
    }

    pub(super) fn begin_strike_on(&mut self, reach: Reach) {
        self.windows.push(Window {
            begin: self.now(),
            end: Duration::MAX - DEADLINE,
            reach,
            is_graceful: false,
        });
    }

    /// Ends a strike that has had its effect.
    pub(crate) fn end_strike(&mut self) {
        self.end_strike_without_effect();
        self.struck(1);
    }

    /// Ends a strike that does not count.
    pub(crate) fn end_strike_without_effect(&mut self) {
        let now = self.now();
        self.windows.last_mut().unwrap().end = now;
    }

    pub(super) fn struck(&mut self, times: u64) {
        *self.strikes.last_mut().unwrap() += times;
    }

    /// Waits until the proxy has broken this many more connections.
    pub(crate) async fn broken(&mut self, more: u64) {
        let proxy = self.proxy.take().unwrap();
        let wanted = proxy.broken() + more;
        self.until("the proxy breaks connections", || proxy.broken() >= wanted)
            .await;
        self.proxy = Some(proxy);
        self.struck(more);
    }

    /// Waits until the proxy has swallowed this many more acknowledgements.
    pub(crate) async fn swallowed(&mut self, more: u64) {
        let proxy = self.proxy.take().unwrap();
        let wanted = proxy.swallowed() + more;
        self.until("the proxy swallows acknowledgements", || {
            proxy.swallowed() >= wanted
        })
        .await;
        self.proxy = Some(proxy);
        self.struck(more);
    }

    /// Waits until the proxy has tampered with a message, and returns its room and number.
    pub(crate) async fn tampered(&mut self) -> (u64, u64) {
        let proxy = self.proxy.take().unwrap();
        self.until("the proxy tampers with a message", || {
            proxy.tampered().is_some()
        })
        .await;
        let tampered = proxy.tampered().unwrap();
        self.proxy = Some(proxy);
        tampered
    }

    /// Lasts for a random time (in milliseconds) in which no send may be acknowledged.
    pub(crate) async fn stall(&mut self, from: u64, to: u64) {
        sleep(IN_FLIGHT).await;
        let before = self.acknowledged_so_far();
        self.pause(from, to).await;
        self.stalls += u64::from(self.acknowledged_so_far() == before);
    }

    /// Lasts for a random time (in milliseconds) in which this node may acknowledge no send, and
    /// the others must.
    pub(super) async fn stall_on(&mut self, node: usize, from: u64, to: u64) {
        sleep(IN_FLIGHT).await;
        let before = self.acknowledged_by(node);
        self.pause(from, to).await;
        if self.nodes.len() > 1 {
            self.acknowledged(20).await;
        }
        self.stalls += u64::from(self.acknowledged_by(node) == before);
    }

    /// Returns a random node.
    pub(crate) fn any_node(&mut self) -> usize {
        self.below(self.nodes.len() as u64) as usize
    }

    /// Kills a gateway that has sends to answer. The strike lasts until it is started again.
    pub(crate) async fn kill(&mut self, node: usize) {
        let nodes = self.nodes.len();
        let senders = CLIENTS
            .iter()
            .enumerate()
            .filter(|(place, client)| client.role == Role::Sender && home(*place, nodes) == node)
            .map(|(_, client)| client.name);
        let senders: Vec<_> = senders.collect();
        let progresses = self.progresses.clone();
        self.until("a send is in progress", || {
            let mut progresses = progresses
                .iter()
                .filter(|(client, _)| senders.contains(client));
            progresses.any(|(_, progress)| progress.lock().unwrap().unsettled > 0)
        })
        .await;
        self.begin_strike_on(Reach::Node(node));
        let code = self.nodes[node].end("KILL");
        assert_eq!(code, None, "it is killed by the signal");
    }

    /// Has a gateway shut down. The strike lasts until it is started again.
    pub(crate) fn terminate(&mut self, node: usize) {
        self.begin_strike_on(Reach::Node(node));
        self.windows.last_mut().unwrap().is_graceful = true;
        assert_eq!(self.nodes[node].end("TERM"), Some(0));
    }

    /// Starts a gateway again on its port.
    pub(crate) fn start_again(&mut self, node: usize) {
        self.nodes[node].start_again(self.database);
        self.end_strike();
    }

    /// Suspends a gateway for a random time (in milliseconds).
    pub(crate) async fn suspend(&mut self, node: usize, from: u64, to: u64) {
        self.begin_strike_on(Reach::Node(node));
        self.nodes[node].gateway().signal("STOP");
        self.stall_on(node, from, to).await;
        self.nodes[node].gateway().signal("CONT");
        self.end_strike();
    }

    /// Terminates every database session of the gateways, and returns how many there were.
    pub(crate) fn terminate_backends(&mut self) -> u64 {
        self.begin_strike();
        let terminated = self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let terminated = terminated.matches('t').count() as u64;
        self.terminated += terminated;
        match terminated > 0 {
            true => self.end_strike(),
            false => self.end_strike_without_effect(),
        }
        terminated
    }

    /// Pauses these clients until the gateway has disconnected all of them.
    pub(crate) async fn pause_until_cut_off(&mut self, clients: &[&'static str]) {
        self.begin_pause(clients);
        let address = self.nodes[0].address();
        let wanted = (self.progresses.len() - clients.len()) as u64;
        let deadline = Instant::now() + DEADLINE;
        while connections(address).await > wanted {
            assert!(
                Instant::now() < deadline,
                "{} (CHAOS_SEED={}): {clients:?} are not disconnected",
                self.name,
                seed()
            );
            sleep(METRICS_INTERVAL).await;
        }
        self.end_pause().await;
    }

    /// Pauses these clients for a random time (in milliseconds).
    pub(crate) async fn pause_briefly(&mut self, clients: &[&'static str], from: u64, to: u64) {
        self.begin_pause(clients);
        self.pause(from, to).await;
        self.end_pause().await;
    }

    fn begin_pause(&mut self, clients: &[&'static str]) {
        let names = clients.iter().map(|&name| name.to_owned()).collect();
        self.begin_strike_on(Reach::Clients(names));
        self.crowd.paused.send_replace(clients.to_vec());
    }

    /// The clients read again. Until they have read what waited for them, which takes as long
    /// as they need, they do not have what is new.
    async fn end_pause(&mut self) {
        let paused = self.crowd.paused.send_replace(Vec::new());
        let newest = newest_seen(&self.progresses);
        let progresses = self.progresses.clone();
        self.until("the paused clients have caught up", || {
            let mut progresses = progresses
                .iter()
                .filter(|(client, _)| paused.contains(client));
            progresses.all(|(_, progress)| is_up_to_date(progress, &newest, 0))
        })
        .await;
        self.end_strike();
    }
}

/// Returns the newest message of each room that a client has seen.
fn newest_seen(progresses: &[(&'static str, Arc<Mutex<Progress>>)]) -> BTreeMap<u64, u64> {
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    for (_, progress) in progresses {
        for (room, seq) in &progress.lock().unwrap().seen {
            let newest = newest.entry(*room).or_default();
            *newest = (*seq).max(*newest);
        }
    }
    newest
}
