//! One test: a gateway and its clients under load, and the comparison of what they observed
//! with the database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep, timeout_at};

use crate::checker::check;
use crate::client::{Client, Crowd, Phase, Progress, Role};
use crate::proxy::{Proxy, ProxyFault};
use crate::random::{Random, seed};
use crate::record::{Event, Evidence, History, Message};
use crate::support::{Database, Gateway};

/// How long a test waits for an event that must happen, with a margin for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Name, user, role and rooms of each client. Two of the senders are connections of one user.
const CLIENTS: [(&str, &str, Role, &[u64]); 12] = [
    ("sender-1", "ada", Role::Sender, &[1, 2]),
    ("sender-2", "ada", Role::Sender, &[1, 3]),
    ("sender-3", "sender-3", Role::Sender, &[2, 3]),
    ("sender-4", "sender-4", Role::Sender, &[1]),
    ("sender-5", "sender-5", Role::Sender, &[2]),
    ("sender-6", "sender-6", Role::Sender, &[3]),
    ("reader-1", "reader-1", Role::Reader, &[1, 2, 3]),
    ("reader-2", "reader-2", Role::Reader, &[1]),
    ("reader-3", "reader-3", Role::Reader, &[2]),
    ("reader-4", "reader-4", Role::Reader, &[3]),
    ("visitor-1", "visitor-1", Role::Visitor, &[1, 2]),
    ("visitor-2", "visitor-2", Role::Visitor, &[2, 3]),
];

pub(crate) struct Stage<'a> {
    fault: &'static str,
    database: &'a Database,
    gateway: Option<Gateway>,
    port: u16,
    crowd: Arc<Crowd>,
    clients: JoinSet<History>,
    progresses: Vec<(&'static str, Arc<Mutex<Progress>>)>,
    pub(crate) proxy: Option<Proxy>,
    /// Faults injected so far.
    pub(crate) faults: u64,
    /// Decides how long faults last and when they strike.
    random: Random,
}

impl<'a> Stage<'a> {
    /// Starts a gateway on this database and its clients, and waits until they are under load.
    /// `length` is the number of characters of a message.
    pub(crate) async fn open(
        fault: &'static str,
        database: &'a Database,
        proxy_fault: Option<ProxyFault>,
        length: usize,
    ) -> Self {
        let name = format!("{fault} on {}", name(database));
        println!("chaos: {name}: CHAOS_SEED={}", seed());
        let random = Random::new(seed()).derive(&name);
        // While the gateway is down, the kernel does not assign this port to an outgoing
        // connection.
        let port = chat_test_support::free_port().unwrap();
        let gateway = Some(start(database, port));
        let mut address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut proxy = None;
        if let Some(proxy_fault) = proxy_fault {
            let started = Proxy::start(address, proxy_fault, random.derive("proxy")).await;
            address = started.address;
            proxy = Some(started);
        }
        let crowd = Arc::new(Crowd {
            address,
            phase: watch::Sender::new(Phase::Load),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            progressed: watch::Sender::new(()),
            length,
        });
        let mut stage = Self {
            fault,
            database,
            gateway,
            port,
            crowd,
            clients: JoinSet::new(),
            progresses: Vec::new(),
            proxy,
            faults: 0,
            random,
        };
        for (name, user, role, rooms) in CLIENTS {
            let client = Client::new(
                name,
                user,
                role,
                rooms,
                stage.random.derive(name),
                stage.crowd.clone(),
            );
            stage.progresses.push((name, client.progress()));
            stage.clients.spawn(client.run());
        }
        stage.acknowledged(100).await;
        stage
    }

    /// Returns a random number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }

    /// Lets a fault last, or the load run, for a random time (in milliseconds). This paces
    /// the faults; no test waits for an event with it.
    pub(crate) async fn pause(&mut self, from: u64, to: u64) {
        sleep(Duration::from_millis(from + self.random.below(to - from))).await;
    }

    /// Waits until this many more messages have been acknowledged.
    pub(crate) async fn acknowledged(&mut self, more: u64) {
        let wanted = self.crowd.acknowledged.load(Ordering::Relaxed) + more;
        let crowd = self.crowd.clone();
        self.until("messages are acknowledged", || {
            crowd.acknowledged.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }

    /// Waits until this many more messages have been refused.
    pub(crate) async fn refused(&mut self, more: u64) {
        let wanted = self.crowd.refused.load(Ordering::Relaxed) + more;
        let crowd = self.crowd.clone();
        self.until("messages are refused", || {
            crowd.refused.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.crowd.phase.send_replace(phase);
    }

    /// Kills the gateway and starts it again on its port.
    pub(crate) fn kill_and_restart(&mut self) {
        block_in_place(|| {
            let mut gateway = self.gateway.take().unwrap();
            gateway.signal("KILL");
            gateway.wait();
            self.gateway = Some(start(self.database, self.port));
        });
        self.faults += 1;
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        block_in_place(|| self.database.sql(sql))
    }

    /// Waits until the condition holds. It is checked whenever a client makes progress.
    async fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut progressed = self.crowd.progressed.subscribe();
        while !holds() {
            tokio::select! {
                Some(ended) = self.clients.join_next() => {
                    panic!("a client ended: {:?}", ended.map(|history| history.client));
                }
                changed = timeout_at(deadline, progressed.changed()) => assert!(
                    changed.is_ok(),
                    "{} (CHAOS_SEED={}): timed out after {DEADLINE:?} waiting until {what}: {:?}",
                    self.fault,
                    seed(),
                    self.progresses
                ),
            }
        }
    }

    /// Stops the faults and waits until every send is settled and every client has seen the
    /// newest message of its rooms. Then checks the evidence.
    pub(crate) async fn close(mut self) {
        if let Some(proxy) = &self.proxy {
            proxy.stop_faults();
            self.faults = proxy.broken();
        }
        self.set_phase(Phase::Drain);
        let progresses = self.progresses.clone();
        self.until("every send is settled", || {
            let settled = |progress: &Mutex<Progress>| progress.lock().unwrap().unsettled == 0;
            progresses.iter().all(|(_, progress)| settled(progress))
        })
        .await;
        let newest: BTreeMap<u64, u64> = self.counters().into_iter().collect();
        self.until("every client has seen the newest message", || {
            let up_to_date = |progress: &Mutex<Progress>| {
                let progress = progress.lock().unwrap();
                let mut seen = progress.seen.iter();
                progress.unsettled == 0
                    && seen.all(|(room, seq)| *seq >= newest.get(room).copied().unwrap_or(0))
            };
            progresses.iter().all(|(_, progress)| up_to_date(progress))
        })
        .await;
        self.set_phase(Phase::Finish);
        let mut histories = Vec::new();
        while let Some(history) = self.clients.join_next().await {
            histories.push(history.unwrap());
        }
        let evidence = Evidence {
            histories,
            rows: self.rows(),
            counters: self.counters(),
        };
        let violations = check(&evidence);
        println!("{}", self.report(&evidence, violations.len()));
        let shown = &violations[..violations.len().min(20)];
        assert!(
            violations.is_empty(),
            "{} (CHAOS_SEED={}): {} violations, the first of which are: {shown:#?}",
            self.fault,
            seed(),
            violations.len()
        );
    }

    fn counters(&self) -> Vec<(u64, u64)> {
        self.sql("SELECT id, last_seq FROM rooms ORDER BY id")
            .lines()
            .map(|line| {
                let (room, newest) = line.split_once('|').unwrap();
                (room.parse().unwrap(), newest.parse().unwrap())
            })
            .collect()
    }

    fn rows(&self) -> Vec<Message> {
        self.sql(
            "SELECT id, room_id, seq, user_id, client_message_id, content FROM messages \
             ORDER BY room_id, seq",
        )
        .lines()
        .map(|line| {
            let columns: Vec<&str> = line.split('|').collect();
            let [id, room, seq, user, client_message_id, content] = columns[..] else {
                panic!("an unexpected row: {line}");
            };
            Message {
                id: id.parse().unwrap(),
                room: room.parse().unwrap(),
                seq: seq.parse().unwrap(),
                user: user.to_owned(),
                client_message_id: Some(client_message_id)
                    .filter(|id| !id.is_empty())
                    .map(str::to_owned),
                content: content.to_owned(),
            }
        })
        .collect()
    }

    /// Summarizes the test in one line.
    fn report(&self, evidence: &Evidence, violations: usize) -> String {
        let count = |wanted: fn(&Event) -> bool| {
            let events = evidence
                .histories
                .iter()
                .flat_map(|history| &history.events);
            events.filter(|event| wanted(event)).count()
        };
        let connections = count(|event| matches!(event, Event::Connected));
        let sent = count(|event| matches!(event, Event::Sent { .. }));
        let acknowledged = count(|event| matches!(event, Event::Acknowledged { .. }));
        let refused = count(|event| matches!(event, Event::Refused { .. }));
        let database = name(self.database);
        format!(
            "chaos: {:<26} {database:<10} {:>4} faults, {:>4} reconnects, {:>6} sent, {:>6} \
             acknowledged, {:>5} refused, {:>5} unanswered, {:>6} stored, {:>7} received, {:>3} missed, {violations} \
             violations, CHAOS_SEED={}",
            self.fault,
            self.faults,
            connections - evidence.histories.len(),
            sent,
            acknowledged,
            refused,
            sent - acknowledged - refused,
            evidence.rows.len(),
            count(|event| matches!(event, Event::Received(_))),
            count(|event| {
                matches!(
                    event,
                    Event::Joined {
                        missed: Some(_),
                        ..
                    }
                )
            }),
            seed(),
        )
    }
}

fn name(database: &Database) -> &'static str {
    match database {
        Database::Sqlite(_) => "SQLite",
        Database::Postgres(_) => "PostgreSQL",
    }
}

fn start(database: &Database, port: u16) -> Gateway {
    let port = port.to_string();
    // Without a rate limit, only the faults cause refusals.
    let environment = [("PORT", port.as_str()), ("MESSAGE_RATE", "0")];
    block_in_place(|| Gateway::start_with(database, &environment))
}
