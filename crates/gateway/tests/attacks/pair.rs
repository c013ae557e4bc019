//! Two honest clients that exchange messages while others attack.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::token;

/// The room of the pair.
const ROOM: u64 = 1;
/// How often one of the two sends, below the default rate of a user.
const INTERVAL: Duration = Duration::from_millis(13);

/// A pair that exchanges messages until it is stopped. It has a thread of its own, so that it
/// does not wait for the attackers.
pub(crate) struct Pair {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Pair {
    /// Connects the two clients and starts them.
    pub(crate) async fn start(address: SocketAddr) -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let (started, has_started) = oneshot::channel();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(exchange(address, started, &stopped))
        });
        // If it fails, stopping it says so.
        has_started.await.ok();
        Self { stop, thread }
    }

    /// Stops the pair. Returns how long each message took from the time at which it was due.
    /// Every message must have arrived, in order and once.
    pub(crate) fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let latencies = self.thread.join();
        let mut latencies = latencies.expect("every message of the pair arrives");
        assert!(!latencies.is_empty(), "the pair has exchanged messages");
        latencies.sort_unstable();
        latencies
    }
}

async fn exchange(
    address: SocketAddr,
    started: oneshot::Sender<()>,
    stop: &AtomicBool,
) -> Vec<Duration> {
    let mut pair = Vec::new();
    for user in ["honest-1", "honest-2"] {
        let mut client = Client::connect(address, &token(user, "Honest")).await;
        client.join(ROOM).await;
        client.event("joinedRoom").await;
        pair.push(client);
    }
    started.send(()).ok();
    let mut latencies = Vec::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    while !stop.load(Ordering::Relaxed) {
        // What is late does not reduce the load, and counts from when it was due.
        let due = ticks.tick().await;
        pair.swap(0, 1);
        let [sender, receiver] = &mut pair[..] else {
            unreachable!("a pair has two clients")
        };
        let sent = sender.send(ROOM, "honest").await;
        assert_eq!(sent["ok"], true, "{sent}");
        let received = receiver.any_event().await;
        latencies.push(Instant::now() - due);
        let expected = ("newMessage".to_owned(), sent["message"].clone());
        assert_eq!(received, expected);
        assert_eq!(sender.any_event().await, expected);
    }
    latencies
}

/// Returns the latency that 99% of the messages do not exceed.
pub(crate) fn p99(sorted: &[Duration]) -> Duration {
    sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)]
}
