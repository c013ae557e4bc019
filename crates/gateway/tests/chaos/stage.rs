//! One test: gateways on one database and their clients under load, and the comparison of what
//! the clients observed with the database.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat_test_support::{Redis, RedisOptions};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep, timeout_at};

pub(crate) use self::lag::LagMeter;
use self::node::Node;
pub(crate) use self::profiles::{CLIENTS, EDITED, RULED, WITHOUT_RULES, home};
pub(crate) use self::setup::{Cabled, Setup};
use self::storage::{counters, newest_changes, pointers, rows, states};
use crate::checker::{Violation, check, slowest_delivery};
use crate::client::{Client, Crowd, Phase, Progress};
use crate::fault::Fault;
use crate::figures::Figures;
use crate::proxy::Proxy;
use crate::random::{Random, seed};
use crate::record::{Breaks, Event, Evidence, History, Reach, States, Tables, Window};
use crate::support::Database;
use crate::support::load::share_of_the_machine;

mod cuts;
mod hints;
mod lag;
mod node;
mod profiles;
mod rules;
mod setup;
mod storage;
mod strikes;

/// How long a test waits for an event that must happen, with a margin for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Stage<'a> {
    _share: OwnedSemaphorePermit,
    fault: Fault,
    name: String,
    database: &'a Database,
    nodes: Vec<Node>,
    redis: Option<Redis>,
    crowd: Arc<Crowd>,
    clients: JoinSet<History>,
    progresses: Vec<(&'static str, Arc<Mutex<Progress>>)>,
    pub(crate) proxy: Option<Proxy>,
    windows: Vec<Window>,
    /// How often the fault struck in each round.
    strikes: Vec<u64>,
    stalls: u64,
    /// The database sessions that were terminated while the gateways used them.
    pub(crate) terminated: u64,
    hint_stalls: u64,
    lag: LagMeter,
    /// The tables of rules before the clients began, if there are any.
    rules_before: Option<Tables>,
    /// Decides how long faults last and when they strike.
    random: Random,
}

/// The outcome of a test.
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    pub(crate) violations: Vec<Violation>,
    /// Each prints its log if it is dropped by a panic.
    _nodes: Vec<Node>,
}

impl<'a> Stage<'a> {
    /// Starts gateways on this database and their clients, and waits until they are under load.
    pub(crate) async fn open(fault: Fault, database: &'a Database, setup: Setup) -> Self {
        let share = share_of_the_machine().await;
        let mut name = format!("{} on {}", fault.name, database_name(database));
        if setup.nodes > 1 {
            name += &format!(", {} nodes", setup.nodes);
        }
        println!("chaos: {name}: CHAOS_SEED={}", seed());
        let random = Random::new(seed()).derive(&name);
        let redis = setup.redis.then(|| {
            let started = block_in_place(|| Redis::start(RedisOptions::default()));
            started.expect("Redis")
        });
        let mut nodes = Vec::new();
        for _ in 0..setup.nodes {
            nodes.push(Node::start(database, redis.as_ref(), setup).await);
        }
        let mut addresses: Vec<_> = nodes.iter().map(Node::address).collect();
        let mut proxy = None;
        if let Some(proxy_fault) = setup.proxy {
            let started = Proxy::start(addresses[0], proxy_fault, random.derive("proxy")).await;
            addresses[0] = started.address;
            proxy = Some(started);
        }
        let crowd = Arc::new(Crowd::new(addresses, setup));
        let mut stage = Self {
            _share: share,
            fault,
            name,
            database,
            nodes,
            redis,
            crowd: crowd.clone(),
            clients: JoinSet::new(),
            progresses: Vec::new(),
            proxy,
            windows: Vec::new(),
            strikes: Vec::new(),
            stalls: 0,
            terminated: 0,
            hint_stalls: 0,
            lag: LagMeter::start(crowd.began),
            rules_before: None,
            random,
        };
        if setup.has_rules() {
            stage.create_rooms();
        }
        for (number, profile) in CLIENTS.into_iter().enumerate() {
            let Some(profile) = setup.profile(profile) else {
                continue;
            };
            let random = stage.random.derive(profile.name);
            let home = home(number, setup.nodes);
            let client = Client::new(profile, home, random, stage.crowd.clone());
            stage.progresses.push((profile.name, client.progress()));
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

    fn now(&self) -> Duration {
        self.crowd.began.elapsed()
    }

    pub(crate) fn begin_round(&mut self) {
        self.strikes.push(0);
    }

    /// Waits until this many more messages have been acknowledged.
    pub(crate) async fn acknowledged(&mut self, more: u64) {
        let wanted = self.acknowledged_so_far() + more;
        self.acknowledged_in_all(wanted).await;
    }

    /// Waits until this many messages have been acknowledged since the beginning. The deadline
    /// is for each thousand.
    pub(crate) async fn acknowledged_in_all(&mut self, wanted: u64) {
        while self.acknowledged_so_far() < wanted {
            let next = wanted.min(self.acknowledged_so_far() + 1000);
            let crowd = self.crowd.clone();
            self.until("messages are acknowledged", || {
                crowd.acknowledged_in_all() >= next
            })
            .await;
        }
    }

    fn acknowledged_so_far(&self) -> u64 {
        self.crowd.acknowledged_in_all()
    }

    /// Returns how many messages this node has acknowledged.
    pub(crate) fn acknowledged_by(&self, node: usize) -> u64 {
        self.crowd.acknowledged[node].load(Ordering::Relaxed)
    }

    /// Waits until every client is connected to its home, so that each room has members on
    /// every node.
    pub(crate) async fn spread(&mut self) {
        self.crowd.go_home.send_replace(true);
        let progresses = self.progresses.clone();
        self.until("every client is at home", || {
            let mut progresses = progresses.iter();
            progresses.all(|(_, progress)| progress.lock().unwrap().is_home)
        })
        .await;
        self.crowd.go_home.send_replace(false);
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

    pub(crate) fn sql(&self, sql: &str) -> String {
        block_in_place(|| self.database.sql(sql))
    }

    /// Waits until the condition holds. It is checked whenever a client makes progress.
    async fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut progressed: watch::Receiver<()> = self.crowd.progressed.subscribe();
        while !holds() {
            tokio::select! {
                Some(ended) = self.clients.join_next() => {
                    panic!("a client ended: {:?}", ended.map(|history| history.client));
                }
                changed = timeout_at(deadline, progressed.changed()) => assert!(
                    changed.is_ok(),
                    "{} (CHAOS_SEED={}): timed out after {DEADLINE:?} waiting until {what}: {:?}",
                    self.name,
                    seed(),
                    self.progresses
                ),
            }
        }
    }

    /// Judges the test, prints its figures, and panics unless the fault has shown its effect
    /// and nothing else went wrong.
    pub(crate) async fn close(mut self) {
        self.rules_have_effect().await;
        let (fault, name) = (self.fault, self.name.clone());
        let mut progresses = self.progresses.iter();
        let has_editors = progresses.any(|(name, _)| name.starts_with("editor"));
        let Outcome {
            figures,
            violations,
            _nodes,
        } = self.finish().await;
        let mut shortfalls = fault.shortfalls(&figures);
        if has_editors && figures.changed_shown == 0 {
            shortfalls.push("changes of messages".to_owned());
        }
        println!(
            "chaos: {name}: {figures}, {} violations, CHAOS_SEED={}",
            violations.len(),
            seed()
        );
        assert!(
            violations.is_empty(),
            "{name} (CHAOS_SEED={}): {} violations: {}",
            seed(),
            violations.len(),
            summary(&violations)
        );
        assert!(
            shortfalls.is_empty(),
            "{name} (CHAOS_SEED={}): the fault did not show its effect: {shortfalls:?}",
            seed()
        );
    }

    /// Stops the faults and waits until every send is settled and every client has seen the
    /// newest message of its rooms. Then checks the evidence.
    pub(crate) async fn finish(mut self) -> Outcome {
        if let Some(proxy) = &self.proxy {
            proxy.stop_faults();
        }
        self.crowd.phase.send_replace(Phase::Drain);
        let progresses = self.progresses.clone();
        self.until("every send is settled", || {
            let settled = |progress: &Mutex<Progress>| progress.lock().unwrap().unsettled == 0;
            progresses.iter().all(|(_, progress)| settled(progress))
        })
        .await;
        let newest: BTreeMap<u64, u64> = counters(self.database).into_iter().collect();
        let changes: BTreeMap<u64, u64> = newest_changes(self.database).into_iter().collect();
        let newest_change = changes.get(&EDITED).copied().unwrap_or_default();
        self.until(
            "every client has seen the newest message and change",
            || {
                let mut progresses = progresses.iter();
                progresses.all(|(_, progress)| is_up_to_date(progress, &newest, newest_change))
            },
        )
        .await;
        self.crowd.phase.send_replace(Phase::Finish);
        let mut histories = Vec::new();
        while let Some(history) = self.clients.join_next().await {
            histories.push(history.unwrap());
        }
        let broken_calls = self.broken_calls();
        let rules = self.rules();
        let evidence = Evidence {
            histories,
            rows: rows(self.database, self.crowd.length),
            counters: counters(self.database),
            pointers: pointers(self.database),
            states: States {
                messages: states(self.database, EDITED),
                newest: newest_changes(self.database),
            },
            windows: self.windows,
            explains: self.fault.explains,
            broken: self.proxy.as_ref().map_or(0, Proxy::broken),
            patience: self.crowd.patience,
            lags: self.lag.lags(),
            rules,
        };
        let figures = Figures {
            strikes: self.strikes,
            cut_off: cut_off(&evidence),
            swallowed: self.proxy.as_ref().map_or(0, Proxy::swallowed),
            stalls: self.stalls,
            terminated: self.terminated,
            broken_calls,
            hint_stalls: self.hint_stalls,
            slowest: slowest_delivery(&evidence),
            ..Figures::of(&evidence)
        };
        Outcome {
            figures,
            violations: check(&evidence),
            _nodes: self.nodes,
        }
    }
}

/// Returns whether a client is a member of its rooms and has their newest messages and changes.
fn is_up_to_date(
    progress: &Mutex<Progress>,
    newest: &BTreeMap<u64, u64>,
    newest_change: u64,
) -> bool {
    let progress = progress.lock().unwrap();
    let mut seen = progress.seen.iter();
    progress.unsettled == 0
        && progress.rev.is_none_or(|rev| rev >= newest_change)
        && seen.all(|(room, seq)| *seq >= newest.get(room).copied().unwrap_or(0))
}

/// Returns the number of violations of each kind.
pub(crate) fn kinds(violations: &[Violation]) -> BTreeMap<String, usize> {
    let by_kind = by_kind(violations).into_iter();
    by_kind
        .map(|(kind, violations)| (kind, violations.len()))
        .collect()
}

fn by_kind(violations: &[Violation]) -> BTreeMap<String, Vec<&Violation>> {
    let mut kinds: BTreeMap<String, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        let text = format!("{violation:?}");
        let kind = text.split(' ').next().unwrap_or_default();
        kinds.entry(kind.to_owned()).or_default().push(violation);
    }
    kinds
}

/// Returns the number of violations of each kind, and the first ones.
pub(crate) fn summary(violations: &[Violation]) -> String {
    const SHOWN: usize = 5;
    let kinds = by_kind(violations).into_iter().map(|(kind, violations)| {
        let shown = &violations[..violations.len().min(SHOWN)];
        format!("{} {kind}: {shown:#?}", violations.len())
    });
    kinds.collect::<Vec<_>>().join("\n")
}

/// Returns how many connections ended, if the fault pauses clients: any other connection that
/// ends is a violation.
fn cut_off(evidence: &Evidence) -> u64 {
    let pauses = evidence
        .windows
        .iter()
        .filter(|window| matches!(window.reach, Reach::Clients(_)));
    if evidence.explains.breaks != Breaks::Affected || pauses.count() == 0 {
        return 0;
    }
    let events = evidence.histories.iter().flat_map(History::events);
    let ended = events.filter(|event| matches!(event, Event::Disconnected));
    ended.count() as u64
}

pub(crate) fn database_name(database: &Database) -> &'static str {
    match database {
        Database::Sqlite(_) => "SQLite",
        Database::Postgres(_) => "PostgreSQL",
    }
}
