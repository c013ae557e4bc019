//! One run: a gateway, its clients, the wait for the end, and the verdict.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep};

use crate::checker::check;
use crate::client::{Client, Crowd, Phase, Role, Standing};
use crate::proxy::{Malice, Proxy};
use crate::record::{Event, Evidence, History, Message};
use crate::support::{Database, Gateway};

/// How long anything may take that the contract promises to happen soon: with a margin
/// for a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(60);

/// Who takes part. Two of the senders are connections of one user.
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
    standings: Vec<(&'static str, Arc<Mutex<Standing>>)>,
    pub(crate) proxy: Option<Proxy>,
    /// Faults injected so far.
    pub(crate) faults: u64,
}

impl<'a> Stage<'a> {
    /// A gateway on this database and its clients, under load. `length`: characters of a
    /// message.
    pub(crate) async fn open(
        fault: &'static str,
        database: &'a Database,
        malice: Option<Malice>,
        length: usize,
    ) -> Self {
        // A port that nobody is given for an outgoing connection while it is free.
        let port = chat_test_support::free_port().unwrap();
        let gateway = Some(start(database, port));
        let mut address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut proxy = None;
        if let Some(malice) = malice {
            let started = Proxy::start(address, malice).await;
            address = started.address;
            proxy = Some(started);
        }
        let crowd = Arc::new(Crowd {
            address,
            phase: watch::Sender::new(Phase::Load),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            length,
        });
        let mut stage = Self {
            fault,
            database,
            gateway,
            port,
            crowd,
            clients: JoinSet::new(),
            standings: Vec::new(),
            proxy,
            faults: 0,
        };
        for (name, user, role, rooms) in CLIENTS {
            let client = Client::new(name, user, role, rooms, stage.crowd.clone());
            stage.standings.push((name, client.standing()));
            stage.clients.spawn(client.live());
        }
        stage.acknowledged(100).await;
        stage
    }

    /// Waits until so many more messages have been acknowledged.
    pub(crate) async fn acknowledged(&mut self, more: u64) {
        let wanted = self.crowd.acknowledged.load(Ordering::Relaxed) + more;
        let crowd = self.crowd.clone();
        self.until("messages are acknowledged", || {
            crowd.acknowledged.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }

    /// Waits until so many more messages have been refused.
    pub(crate) async fn refused(&mut self, more: u64) {
        let wanted = self.crowd.refused.load(Ordering::Relaxed) + more;
        let crowd = self.crowd.clone();
        self.until("messages are refused", || {
            crowd.refused.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }

    pub(crate) fn tell(&self, phase: Phase) {
        self.crowd.phase.send_replace(phase);
    }

    /// Ends the gateway as a crash would, and starts it again on its port.
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

    /// Waits until it is so, and shows where everybody stands if it never is.
    async fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so() {
            if let Some(ended) = self.clients.try_join_next() {
                panic!("a client ended: {:?}", ended.map(|history| history.client));
            }
            let standings = &self.standings;
            assert!(
                Instant::now() < deadline,
                "{}: waited {DEADLINE:?} in vain until {what}: {standings:?}",
                self.fault
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// No faults any more: everything that was sent is settled, and everybody sees every
    /// room's newest message. Then the verdict.
    pub(crate) async fn close(mut self) {
        if let Some(proxy) = &self.proxy {
            proxy.make_peace();
            self.faults = proxy.broken();
        }
        self.tell(Phase::Drain);
        let standings = self.standings.clone();
        self.until("everything is settled", || {
            let settled = |standing: &Mutex<Standing>| standing.lock().unwrap().unsettled == 0;
            standings.iter().all(|(_, standing)| settled(standing))
        })
        .await;
        let newest: BTreeMap<u64, u64> = self.counters().into_iter().collect();
        self.until("everybody has seen the newest message", || {
            let up_to_date = |standing: &Mutex<Standing>| {
                let standing = standing.lock().unwrap();
                let mut seen = standing.seen.iter();
                standing.unsettled == 0
                    && seen.all(|(room, seq)| *seq >= newest.get(room).copied().unwrap_or(0))
            };
            standings.iter().all(|(_, standing)| up_to_date(standing))
        })
        .await;
        self.tell(Phase::Finish);
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
            "{}: {} violations, of which the first: {shown:#?}",
            self.fault,
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

    /// One line for the person at the terminal.
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
        let database = match self.database {
            Database::Sqlite(_) => "SQLite",
            Database::Postgres(_) => "PostgreSQL",
        };
        format!(
            "chaos: {:<26} {database:<10} {:>4} faults, {:>4} reconnects, {:>6} sent, {:>6} \
             acknowledged, {:>5} refused, {:>5} unanswered, {:>6} stored, {:>7} received, {:>3} missed, {violations} \
             violations",
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
        )
    }
}

fn start(database: &Database, port: u16) -> Gateway {
    let port = port.to_string();
    // The load is everything that it can take; refusals are the faults' alone.
    let environment = [("PORT", port.as_str()), ("MESSAGE_RATE", "0")];
    block_in_place(|| Gateway::start_with(database, &environment))
}
