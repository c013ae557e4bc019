//! Several gateways on one PostgreSQL.

pub(crate) mod group;
mod hints;
pub(crate) mod kick;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{Database, Gateway};

const ROOMS: u64 = 8;
const SENDERS: u64 = 12;

/// Senders on one node. They write to the rooms in turn, each in an order of its own.
struct Load {
    /// Each returns the longest time that one of its answers took.
    senders: JoinSet<Duration>,
    stop: Arc<AtomicBool>,
    /// The number of answers so far.
    answers: Arc<AtomicU64>,
}

impl Load {
    async fn start(node: &Gateway) -> Self {
        let mut load = Self {
            senders: JoinSet::new(),
            stop: Arc::default(),
            answers: Arc::default(),
        };
        for sender in 0..SENDERS {
            let mut client = node.connect(&sender.to_string()).await;
            for room in 1..=ROOMS {
                client.join(room).await;
            }
            let (stop, answers) = (load.stop.clone(), load.answers.clone());
            load.senders.spawn(async move {
                let mut longest = Duration::ZERO;
                let mut turn = sender;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1 + sender % 3;
                    let sent = Instant::now();
                    let answer = client.send(1 + turn % ROOMS, "x").await;
                    assert_eq!(answer["ok"], true, "{answer}");
                    longest = longest.max(sent.elapsed());
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                longest
            });
        }
        load
    }

    /// Stops the senders. Returns the longest time that an answer took.
    async fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.senders.join_all().await;
        longest.into_iter().max().unwrap_or_default()
    }
}

/// Commits one at a time, to a table of its own, beside the load: what takes long here is the
/// machine, above all its disk.
struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Probe {
    fn start(database: &Arc<Database>) -> Self {
        database.sql("CREATE TABLE probe (commits int)");
        let stop: Arc<AtomicBool> = Arc::default();
        let (stopped, database) = (stop.clone(), database.clone());
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                database.sql("INSERT INTO probe VALUES (1)");
                longest = longest.max(began.elapsed());
            }
            longest
        });
        Self { stop, thread }
    }

    /// Returns the longest time that a commit took.
    fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_node_delays_no_send_of_another_node() {
    let database = Arc::new(Database::postgres());
    let probe = Probe::start(&database);
    let nodes = [Gateway::start(&database), Gateway::start(&database)];
    let suspended = Load::start(&nodes[0]).await;
    let other = Load::start(&nodes[1]).await;
    for _ in 0..5 {
        // The pauses pace the fault: it strikes under load, anywhere in a batch, and lasts
        // longer than a send may take.
        sleep(Duration::from_millis(200)).await;
        nodes[0].signal("STOP");
        let before = other.answers.load(Ordering::Relaxed);
        sleep(Duration::from_millis(2500)).await;
        let during = other.answers.load(Ordering::Relaxed) - before;
        nodes[0].signal("CONT");
        assert!(during > 0);
    }
    let longest = other.stop().await;
    let machine = probe.stop();
    assert!(
        longest.saturating_sub(machine) < Duration::from_secs(2),
        "{longest:?}, and {machine:?} for a single commit"
    );
    suspended.stop().await;
    let gaps = "SELECT count(*) FROM (SELECT count(*) AS stored, max(seq) AS newest \
         FROM messages GROUP BY room_id) AS room WHERE stored <> newest";
    assert_eq!(database.sql(gaps), "0");
}
