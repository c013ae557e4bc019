//! A gateway under attack, and what must hold for it during the attack and after it.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use crate::is_full;
use crate::pair::{Pair, p99};
use crate::support::client::{Client, get};
use crate::support::load::share_of_the_machine;
use crate::support::{Database, Gateway, metric, token};

/// How long the pair's latency is measured without an attack, and how long at least with one.
const MEASURED: Duration = Duration::from_secs(5);
/// How long memory and open files may take to return to what they were.
const SETTLED: Duration = Duration::from_secs(60);
/// What memory and open files may keep: one in this many parts of what they were.
const TOLERANCE: u64 = 20;
/// The pages of memory that a process cannot return, as its heap's free space is in pieces.
const UNRETURNED_KIB: u64 = 2048;
/// The files of database connections that are opened later because the warm-up did without
/// them.
const POOL_FILES: u64 = 6;
/// How much memory an attack may cost while it lasts: 5,000 clients that reconnect, while
/// some of their old connections have not ended yet.
const MOST_KIB: u64 = 192 * 1024;

/// A gateway, and an honest pair on it.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    _share: OwnedSemaphorePermit,
    _database: Database,
    name: &'static str,
    pair: Pair,
    baseline_p99: Option<Duration>,
    before: Usage,
    begun: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Usage {
    memory_kib: u64,
    files: u64,
}

impl Usage {
    fn of(gateway: &Gateway) -> Self {
        Self {
            memory_kib: gateway.memory_kib("VmRSS"),
            files: gateway.open_files() as u64,
        }
    }

    fn is_back_to(self, before: Self) -> bool {
        let most = |before: u64| before + before / TOLERANCE;
        self.memory_kib <= most(before.memory_kib) + UNRETURNED_KIB
            && self.files <= most(before.files) + POOL_FILES
    }
}

impl Stage {
    /// Starts a gateway with its default limits, except for these settings, and the pair.
    pub(crate) async fn start(name: &'static str, settings: &[(&str, &str)]) -> Self {
        let share = share_of_the_machine().await;
        let database = Database::sqlite();
        // An empty variable counts as unset.
        let mut all = vec![("MESSAGE_RATE", "")];
        all.extend(settings);
        let gateway = Gateway::start_with(&database, &all);
        warm_up(&gateway).await;
        let baseline_p99 = match is_full() {
            true => {
                let pair = Pair::start(gateway.address).await;
                sleep(MEASURED).await;
                Some(p99(&pair.stop()))
            }
            false => None,
        };
        wait_for_connections(&gateway, 0).await;
        let pair = Pair::start(gateway.address).await;
        let before = Usage::of(&gateway);
        std::fs::write(format!("/proc/{}/clear_refs", gateway.pid()), "5").unwrap();
        Self {
            name,
            before,
            pair,
            baseline_p99,
            begun: Instant::now(),
            gateway,
            _share: share,
            _database: database,
        }
    }

    /// Returns how often a limit has refused something.
    pub(crate) async fn refusals(&self, limit: &str) -> u64 {
        let name = format!("chat_refusals_total{{limit=\"{limit}\"}}");
        metric(&self.gateway, &name).await
    }

    /// Ends the attack, whose clients are gone: the pair must have received everything, and
    /// memory and open files must return to what they were.
    pub(crate) async fn finish(self) {
        if is_full() {
            // Percentiles of few messages say little.
            sleep(MEASURED.saturating_sub(self.begun.elapsed())).await;
        }
        let lasted = self.begun.elapsed();
        let latencies = self.pair.stop();
        let peak = self.gateway.memory_kib("VmHWM");
        let since = Instant::now();
        let after = loop {
            let usage = Usage::of(&self.gateway);
            if usage.is_back_to(self.before) {
                break usage;
            }
            assert!(
                since.elapsed() < SETTLED,
                "{}: {usage:?} instead of {:?}",
                self.name,
                self.before
            );
            // Nothing signals that memory has been returned.
            sleep(Duration::from_millis(100)).await;
        };
        let grown = peak.saturating_sub(self.before.memory_kib);
        assert!(grown <= MOST_KIB, "{}: {grown} KiB at its peak", self.name);
        let (status, _) = get(self.gateway.address, "/readyz").await;
        assert_eq!(status, 200);
        if let Some(baseline) = self.baseline_p99 {
            let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
            println!(
                "| {} | {:.1} | {} | {:.1} | {:.1} | {:.1} | {} | {} | {} | {} |",
                self.name,
                lasted.as_secs_f64(),
                latencies.len(),
                millis(baseline),
                millis(p99(&latencies)),
                p99(&latencies).as_secs_f64() / baseline.as_secs_f64(),
                self.before.memory_kib,
                peak,
                after.memory_kib,
                after.files
            );
        }
    }
}

/// Lets the gateway do once what it does for every client, so that what it keeps for good, such
/// as the database's connections and their caches, is not counted as the attack's.
async fn warm_up(gateway: &Gateway) {
    const ROOM: u64 = 1000;
    let mut clients = Vec::new();
    for n in 0..50 {
        let user = format!("warm-up-{n}");
        let mut client = Client::connect(gateway.address, &token(&user, "x")).await;
        client.join(ROOM).await;
        clients.push(client);
    }
    for client in &mut clients {
        let content = "\u{1}".repeat(4000);
        assert_eq!(client.send(ROOM, &content).await["ok"], true);
        client.send(ROOM, &content).await;
    }
    let mut pages = Vec::new();
    for client in &mut clients {
        let page = json!({"roomId": ROOM, "limit": 200});
        pages.push(client.start("listMessages", &page).await);
    }
    for (client, page) in clients.iter_mut().zip(pages) {
        assert_eq!(client.ack(page).await["ok"], true);
    }
}

/// Waits until this many clients are connected.
pub(crate) async fn wait_for_connections(gateway: &Gateway, count: u64) {
    let since = Instant::now();
    loop {
        let connections = metric(gateway, "chat_connections").await;
        if connections == count {
            return;
        }
        assert!(since.elapsed() < SETTLED, "{connections} clients");
        // Nothing signals it, and reading all metrics costs the gateway something.
        sleep(Duration::from_millis(20)).await;
    }
}
