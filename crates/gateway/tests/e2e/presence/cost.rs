//! What presence costs: 100,000 users on three nodes, of whom a thousand come and a thousand go
//! every second.
//!
//! The nodes run in this process, each with a runtime of one thread, and exchange through a real
//! Redis. Their clients are simulated: they do what a connection does to presence.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use chat_adapters::redis::{RedisExchange, RedisOptions};
use chat_adapters::{SystemClock, sqlite};
use chat_delivery::{
    Encoder, Gone, LiveGive, Presence, PresenceEncoder, Recipient, Rooms, UserPresence,
};
use chat_domain::ports::{Acquaintance, Acquaintances, LastSeen};
use chat_domain::{
    ChangedMessage, ConnectionId, DisplayName, Identity, Message, ReactionKey, RoomAccess, RoomId,
    Seq, StorageError, StoredChange, StoredMessage, Timestamp, User, UserId, Visibility,
};
use chat_test_support::Redis;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;

const NODES: usize = 3;
const USERS: usize = 100_000;
/// How many come, and how many go, per second on all nodes.
const RATE: usize = 1000;
/// How many connections of each node watch, and how many users each.
const WATCHERS: usize = 500;
const WATCHED: usize = 200;
const MEASURED: Duration = Duration::from_secs(20);

struct Client(ConnectionId, Arc<AtomicU64>);

impl Recipient for Client {
    fn id(&self) -> ConnectionId {
        self.0
    }

    fn give(&self, _: Bytes) {}

    fn give_live(&self, _: &Bytes) -> LiveGive {
        self.1.fetch_add(1, Ordering::Relaxed);
        LiveGive::Taken
    }

    async fn space(&self) -> Result<(), Gone> {
        Ok(())
    }

    fn is_gone(&self) -> bool {
        false
    }
}

struct Frames;

impl PresenceEncoder for Frames {
    fn user_presence(&self, presence: &UserPresence) -> Bytes {
        Bytes::from(format!("{} {}", presence.user_id, presence.is_online))
    }
}

impl Encoder for Frames {
    fn message(&self, _: &StoredMessage) -> Bytes {
        Bytes::new()
    }

    fn logged_message(&self, _: Message, _: &[ReactionKey]) -> Bytes {
        Bytes::new()
    }

    fn changed_message(&self, _: RoomId, _: ChangedMessage, _: bool, _: &[ReactionKey]) -> Bytes {
        Bytes::new()
    }

    fn read_pointer(&self, _: RoomId, _: &UserId, _: Seq) -> Bytes {
        Bytes::new()
    }

    fn typing(&self, _: RoomId, _: &User, _: bool) -> Bytes {
        Bytes::new()
    }

    fn rules_change(&self, _: &StoredChange) -> Bytes {
        Bytes::new()
    }
}

/// All users share a room. Counts what is stored.
struct Everybody(AtomicU64);

#[async_trait]
impl Acquaintances for Everybody {
    async fn among(
        &self,
        _: &UserId,
        _: &RoomAccess,
        others: &[UserId],
    ) -> Result<Vec<Option<Acquaintance>>, StorageError> {
        Ok(vec![Some(Acquaintance::default()); others.len()])
    }

    async fn note_seen(&self, seen: &[LastSeen]) -> Result<(), StorageError> {
        self.0.fetch_add(seen.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

fn user(n: usize) -> User {
    let id = format!("user-{n:06}");
    User {
        name: DisplayName::from_text(&id),
        id: UserId::new(id).unwrap(),
    }
}

fn identity(n: usize) -> Arc<Identity> {
    Arc::new(Identity {
        grants: None,
        user: user(n),
        rooms: RoomAccess::All,
        visibility: Visibility::Visible,
        issued_at: None,
        expires_at: Timestamp::from_unix_millis(i64::MAX),
        valid_until: Timestamp::from_unix_millis(i64::MAX),
    })
}

struct Node {
    presence: Arc<Presence<Client>>,
    runtime: Runtime,
    told: Arc<AtomicU64>,
    stored: Arc<Everybody>,
    _folder: tempfile::TempDir,
}

impl Node {
    fn start(number: usize, redis: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(thread(number))
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let stored = Arc::new(Everybody(AtomicU64::new(0)));
        let presence = runtime.block_on(async {
            let options = RedisOptions {
                url: redis.parse().unwrap(),
                prefix: "chat:".into(),
            };
            let exchange = Arc::new(RedisExchange::start(&options).unwrap());
            let database = sqlite::Database::open(folder.path().join("chat.db"), 1).unwrap();
            database.migrate().await.unwrap();
            let database = Arc::new(database);
            let rooms = Rooms::new(
                database.clone(),
                database.clone(),
                database,
                exchange.clone(),
                Arc::new(Frames),
                Arc::new(()),
                Arc::new(()),
                TaskTracker::new(),
            );
            let (clock, encoder) = (Arc::new(SystemClock), Arc::new(Frames));
            Presence::new(rooms, stored.clone(), clock, encoder, Some(exchange))
        });
        runtime.spawn(presence.clone().run());
        Self {
            presence,
            runtime,
            told: Arc::default(),
            stored,
            _folder: folder,
        }
    }
}

fn thread(number: usize) -> String {
    format!("presence-{number}")
}

/// Returns how long the threads with this name have used a processor.
fn processor_time(name: &str) -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            ticks += ticks_of(&task.path().join("stat"));
        }
    }
    Duration::from_millis(ticks * 10)
}

/// Returns how long this thread has used a processor: it does what connections do.
fn own_processor_time() -> Duration {
    Duration::from_millis(ticks_of("/proc/thread-self/stat".as_ref()) * 10)
}

/// Returns the hundredths of a second in a file of the form of `/proc/PID/stat`.
fn ticks_of(stat: &std::path::Path) -> u64 {
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn redis_time(redis: &Redis) -> Duration {
    let info = redis.command(&["INFO", "cpu"]).unwrap();
    let fields: HashMap<&str, &str> = info
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let seconds = |name: &str| fields[name].trim().parse::<f64>().unwrap();
    Duration::from_secs_f64(seconds("used_cpu_user") + seconds("used_cpu_sys"))
}

fn until(what: &str, is_met: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_met() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

#[test]
#[ignore = "measures for half a minute, on a machine that does nothing else"]
fn a_hundred_thousand_users_cost_less_than_a_tenth_of_a_core() {
    let redis = Redis::start(chat_test_support::RedisOptions::default()).unwrap();
    let nodes: Vec<_> = (0..NODES).map(|n| Node::start(n, &redis.url())).collect();
    let node_of = |n: usize| &nodes[n % NODES];
    for n in 0..USERS {
        node_of(n).presence.connect(&user(n), Visibility::Visible);
    }
    let known = |node: &Node| {
        let counts = node.presence.counts();
        counts.local + counts.others
    };
    let converged = until("every node knows all users", || {
        nodes.iter().all(|node| known(node) == USERS)
    });
    println!("all {USERS} users are known on each of {NODES} nodes after {converged:?}");
    for (place, node) in nodes.iter().enumerate() {
        for n in 0..WATCHERS {
            let id = ConnectionId::new((place * WATCHERS + n) as u64);
            let client = Arc::new(Client(id, node.told.clone()));
            let watcher = identity(n);
            let watched = (0..WATCHED).map(|w| user((n * 7919 + w * 104_729) % USERS).id);
            let watch = node
                .presence
                .watch(&client, &watcher, watched.collect(), |_| ());
            node.runtime.block_on(watch).unwrap();
        }
    }
    // The users that come are new ones, so that those that go are never back in time.
    let mut next = 0;
    let mut step = |presence: &dyn Fn(usize) -> Arc<Presence<Client>>| {
        let (goes, comes) = (next, USERS + next);
        presence(goes).disconnect(&user(goes % USERS).id);
        presence(comes).connect(&user(comes % (2 * USERS)), Visibility::Visible);
        next += 1;
    };
    let presence = |n: usize| node_of(n).presence.clone();
    let mut churn = |lasts: Duration| {
        let began = Instant::now();
        let mut done = 0;
        while began.elapsed() < lasts {
            let due = (began.elapsed().as_secs_f64() * RATE as f64) as usize;
            (done..due).for_each(|_| step(&presence));
            done = due;
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // From the first who has gone for long enough on, as many go as come.
    churn(Duration::from_secs(13));
    let before: Vec<_> = (0..NODES).map(|n| processor_time(&thread(n))).collect();
    let own_before = own_processor_time();
    let (redis_before, began) = (redis_time(&redis), Instant::now());
    let told: u64 = nodes
        .iter()
        .map(|node| node.told.load(Ordering::Relaxed))
        .sum();
    churn(MEASURED);
    let elapsed = began.elapsed();
    let share = |used: Duration| used.as_secs_f64() / elapsed.as_secs_f64();
    let of_redis = share(redis_time(&redis).saturating_sub(redis_before));
    let of_clients = (own_processor_time() - own_before) / NODES as u32;
    let of_nodes: Vec<_> = (0..NODES)
        .map(|n| share(processor_time(&thread(n)) - before[n] + of_clients))
        .collect();
    let told = nodes
        .iter()
        .map(|node| node.told.load(Ordering::Relaxed))
        .sum::<u64>()
        - told;
    println!(
        "Redis: {:.2} % of a core; nodes: {:.2}, {:.2}, {:.2} %; {:.0} updates/s to {} watchers",
        of_redis * 100.0,
        of_nodes[0] * 100.0,
        of_nodes[1] * 100.0,
        of_nodes[2] * 100.0,
        told as f64 / elapsed.as_secs_f64(),
        NODES * WATCHERS
    );
    until("every node knows the same users", || {
        let all: Vec<_> = nodes.iter().map(known).collect();
        all.iter().all(|known| *known == USERS)
    });
    let stored: u64 = nodes
        .iter()
        .map(|node| node.stored.0.load(Ordering::Relaxed))
        .sum();
    assert!(stored > 0 && told > 0, "{stored} stored, {told} told");
    assert!(of_redis < 0.1, "{of_redis}");
    assert!(of_nodes.iter().all(|share| *share < 0.1), "{of_nodes:?}");
}
