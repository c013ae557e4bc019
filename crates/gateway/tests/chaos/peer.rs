//! A control: what people deploy instead. Two nodes of another server of the founding contract,
//! such as Socket.IO with its Redis adapter, and the same judge.
//! `cargo xtask chaos --controls --peer DIR` runs it.
//!
//! That contract has no numbers, no acknowledgements and no way to ask for what was missed. So
//! this is what the judge is given:
//!
//! - The number of a message is the place of its id among the stored rows of its room. It is
//!   the only order that such a server has.
//! - A message is acknowledged when it arrives at its sender.
//! - Every client joins while its rooms are empty, and stays.
//!
//! Names, times and read pointers are left out.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat_test_support::{ChildProcess, Redis, RedisOptions, free_port, wait_until};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, interval, sleep};

use crate::checker::{Violation, check};
use crate::client::{Link, Transport};
use crate::fault;
use crate::record::{
    Entry, Event, Evidence, History, Joined, Message, Pointer, Rules, States, compact,
};
use crate::stage::{LagMeter, kinds};
use crate::support::{DEADLINE, Database, SECRET, now, sign};

const NODES: usize = 2;
const ROOMS: [u64; 3] = [1, 2, 3];
/// In each room, on each node: one client that sends and one that only reads.
const CLIENTS: usize = 12;
/// The largest number of messages of a client that have not arrived.
const WINDOW: usize = 8;
const TICK: Duration = Duration::from_millis(10);
/// How long messages may still be on their way at the end. Longer than such a server has been
/// seen to need.
const GRACE: Duration = Duration::from_secs(20);
const STRIKES: u64 = 5;
/// How long Redis is down.
const DOWN: Duration = Duration::from_secs(1);

/// What all clients share.
struct Crowd {
    nodes: Vec<SocketAddr>,
    began: Instant,
    phase: watch::Sender<Phase>,
    joined: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Join,
    Load,
    Drain,
    Finish,
}

struct Client {
    crowd: Arc<Crowd>,
    number: usize,
    room: u64,
    entries: Vec<Entry>,
    /// The attempts that have not arrived, by content.
    pending: HashMap<String, u64>,
    next_attempt: u64,
}

impl Client {
    fn user(&self) -> u64 {
        self.number as u64 + 1
    }

    fn is_sender(&self) -> bool {
        self.number < CLIENTS / 2
    }

    fn record(&mut self, event: Event) {
        let at = self.crowd.began.elapsed();
        self.entries.push(Entry { at, event });
    }

    /// Runs until the phase is `Finish` or the connection ends, and returns what the client
    /// observed.
    async fn run(mut self) -> History {
        let node = self.number / ROOMS.len() % NODES;
        self.record(Event::Connecting { node });
        let claims = json!({ "sub": self.user(), "name": "x", "exp": now() + 3600 });
        let token = format!("Bearer {}", sign(&claims));
        let opened = Link::open(self.crowd.nodes[node], Transport::WebSocket, &token).await;
        let (mut link, _) = opened.expect("the server accepts the connection");
        self.record(Event::Connected);
        self.record(Event::Joining {
            room: self.room,
            after: Some(0),
        });
        let join = format!("42{}", json!(["joinRoom", { "roomId": self.room }]));
        assert!(link.send(vec![join]).await);
        let mut phase = self.crowd.phase.subscribe();
        let mut ticks = interval(TICK);
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Finish {
                break;
            }
            let mut packets = Vec::new();
            tokio::select! {
                arrived = link.next() => match arrived {
                    Some(arrived) => packets.extend(arrived.iter().filter_map(|p| self.handle(p))),
                    None => {
                        self.record(Event::Disconnected);
                        break;
                    }
                },
                _ = ticks.tick() => packets.extend(self.compose(now)),
                _ = phase.changed() => {}
            }
            link.send(packets).await;
        }
        History {
            client: format!("client-{}", self.user()),
            user: self.user().to_string(),
            entries: self.entries,
        }
    }

    /// Returns the next message to send, if one is due.
    fn compose(&mut self, phase: Phase) -> Option<String> {
        if phase != Phase::Load || !self.is_sender() || self.pending.len() >= WINDOW {
            return None;
        }
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        let content = format!("{}-{attempt}", self.user());
        self.pending.insert(compact(&content), attempt);
        self.record(Event::Sent {
            attempt,
            room: self.room,
            client_message_id: None,
            content: compact(&content),
        });
        self.crowd.sent.fetch_add(1, Ordering::Relaxed);
        let payload = json!({ "roomId": self.room, "content": content });
        Some(format!("42{}", json!(["sendMessage", payload])))
    }

    /// Handles a packet and returns the answer to a heartbeat.
    fn handle(&mut self, packet: &str) -> Option<String> {
        let Some(event) = packet.strip_prefix("42") else {
            return (packet == "2").then(|| "3".to_owned());
        };
        let [name, payload]: [Value; 2] = serde_json::from_str(event).expect(event);
        match name.as_str() {
            Some("joinedRoom") => {
                self.record(Event::Joined(Joined {
                    room: payload["roomId"].as_u64().unwrap(),
                    seq: 0,
                    read: 0,
                    unread: 0,
                    missed: None,
                }));
                self.crowd.joined.fetch_add(1, Ordering::Relaxed);
            }
            Some("newMessage") => {
                self.crowd.received.fetch_add(1, Ordering::Relaxed);
                let message = message(&payload);
                let attempt = self.pending.remove(&message.content);
                self.record(Event::Received(message.clone()));
                if let Some(attempt) = attempt {
                    self.record(Event::Acknowledged { attempt, message });
                }
            }
            _ => self.record(Event::Error {
                event: None,
                code: payload["message"].as_str().unwrap_or_default().to_owned(),
            }),
        }
        None
    }
}

/// Reads a `Message` of the founding contract. Its number is not known yet.
fn message(value: &Value) -> Message {
    Message {
        id: value["id"].as_u64().expect("the id"),
        room: value["roomId"].as_u64().expect("the room"),
        seq: 0,
        user: value["userId"].to_string(),
        name: String::new(),
        client_message_id: None,
        content: compact(value["content"].as_str().expect("the content")),
        created_at: String::new(),
    }
}

/// Starts a node of the server on this database and Redis.
fn start_node(database: &Database, redis: &Redis) -> (ChildProcess, SocketAddr) {
    let setting =
        |name| std::env::var(name).expect("`cargo xtask chaos --controls --peer` sets it");
    let port = free_port().unwrap();
    let program = setting("CHAOS_PEER_COMMAND");
    let mut words = program.lines();
    let mut command = Command::new(words.next().expect("a program"));
    command
        .args(words)
        .current_dir(setting("CHAOS_PEER"))
        .env("NODE_ENV", "production")
        .env("PORT", port.to_string())
        .env("DATABASE_URL", database.url())
        .env("REDIS_URL", redis.url())
        .env("JWT_SECRET", SECRET);
    let process = ChildProcess::start(&mut command).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connect = || Ok(TcpStream::connect(address).ok());
    wait_until(DEADLINE, "the server listens", connect).unwrap();
    (process, address)
}

/// Returns the messages, numbered in each room in the order of their ids.
fn rows(database: &Database) -> Vec<Message> {
    let sql = "SELECT id, room_id, user_id, content FROM messages ORDER BY room_id, id";
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    let rows = database.sql(sql);
    let rows = rows.lines().map(|line| {
        let [id, room, user, content] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("an unexpected row: {line}");
        };
        let room = room.parse().unwrap();
        let newest = newest.entry(room).or_default();
        *newest += 1;
        Message {
            id: id.parse().unwrap(),
            room,
            seq: *newest,
            user: user.to_owned(),
            name: String::new(),
            client_message_id: None,
            content: compact(content),
            created_at: String::new(),
        }
    });
    rows.collect()
}

/// Gives the messages that the clients received their numbers.
fn number(histories: &mut [History], rows: &[Message]) {
    let seqs: HashMap<u64, u64> = rows.iter().map(|row| (row.id, row.seq)).collect();
    let entries = histories
        .iter_mut()
        .flat_map(|history| &mut history.entries);
    for entry in entries {
        if let Event::Received(message) | Event::Acknowledged { message, .. } = &mut entry.event {
            message.seq = seqs.get(&message.id).copied().unwrap_or(0);
        }
    }
}

/// Returns the counters and pointers that follow from the rows: such a server has none.
fn derived(rows: &[Message]) -> (Vec<(u64, u64)>, Vec<Pointer>) {
    let mut counters: BTreeMap<u64, u64> = BTreeMap::new();
    let mut pointers: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for row in rows {
        counters.insert(row.room, row.seq);
        pointers.insert((row.room, &row.user), row.seq);
    }
    let pointers = pointers.into_iter().map(|((room, user), seq)| Pointer {
        room,
        user: user.to_owned(),
        seq,
    });
    (counters.into_iter().collect(), pointers.collect())
}

/// Waits until the condition holds, and panics if it does not before the deadline.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        sleep(TICK).await;
    }
}

/// Runs clients on two nodes while Redis is killed and started again so many times. Returns
/// what the judge finds.
async fn judged(strikes: u64) -> Vec<Violation> {
    let database = Database::postgres();
    let schema = std::env::var("CHAOS_PEER_SCHEMA").expect("the server's tables");
    database.sql(&schema);
    let mut redis = block_in_place(|| Redis::start(RedisOptions::default())).unwrap();
    let nodes: Vec<_> = (0..NODES)
        .map(|_| block_in_place(|| start_node(&database, &redis)))
        .collect();
    let crowd = Arc::new(Crowd {
        nodes: nodes.iter().map(|(_, address)| *address).collect(),
        began: Instant::now(),
        phase: watch::Sender::new(Phase::Join),
        joined: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
    });
    let lag = LagMeter::start(crowd.began);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = Client {
            crowd: crowd.clone(),
            number,
            room: ROOMS[number % ROOMS.len()],
            entries: Vec::new(),
            pending: HashMap::new(),
            next_attempt: 0,
        };
        clients.spawn(client.run());
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    until("every client has joined", || {
        count(&crowd.joined) == CLIENTS as u64
    })
    .await;
    crowd.phase.send_replace(Phase::Load);
    let more = async |messages| {
        let wanted = count(&crowd.sent) + messages;
        until("messages are sent", || count(&crowd.sent) >= wanted).await;
    };
    more(500).await;
    for _ in 0..strikes {
        block_in_place(|| redis.kill()).unwrap();
        sleep(DOWN).await;
        block_in_place(|| redis.start_again()).unwrap();
        more(500).await;
    }
    crowd.phase.send_replace(Phase::Drain);
    let drained = Instant::now();
    let in_a_room = (CLIENTS / ROOMS.len()) as u64;
    while count(&crowd.received) < count(&crowd.sent) * in_a_room && drained.elapsed() < GRACE {
        sleep(TICK).await;
    }
    crowd.phase.send_replace(Phase::Finish);
    let mut histories = clients.join_all().await;
    let rows = block_in_place(|| rows(&database));
    number(&mut histories, &rows);
    let (counters, pointers) = derived(&rows);
    let violations = check(&Evidence {
        histories,
        rows,
        counters,
        pointers,
        states: States::default(),
        windows: Vec::new(),
        explains: fault::NONE.explains,
        broken: 0,
        patience: None,
        lags: lag.lags(),
        rules: Rules::default(),
    });
    println!(
        "chaos: peer, Redis killed {strikes} times: {} sent, {} received, {} violations: {:?}",
        count(&crowd.sent),
        count(&crowd.received),
        violations.len(),
        kinds(&violations)
    );
    violations
}

fn is_lost(found: &Violation) -> bool {
    matches!(found, Violation::NeverReceived { .. })
}

/// Otherwise, the clients or the judge would be to blame.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs another server; `cargo xtask chaos --controls --peer DIR` runs it"]
async fn nothing_is_lost_while_redis_works() {
    let violations = judged(0).await;
    let is_lost_or_false = |found: &&Violation| {
        is_lost(found)
            || matches!(
                found,
                Violation::AcknowledgedNotStored { .. }
                    | Violation::ReceivedNotStored { .. }
                    | Violation::NeverSent { .. }
                    | Violation::Disconnected { .. }
            )
    };
    let found: Vec<_> = violations.iter().filter(is_lost_or_false).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs another server; `cargo xtask chaos --controls --peer DIR` runs it"]
async fn messages_that_are_lost_with_redis_are_found() {
    let violations = judged(STRIKES).await;
    assert!(violations.iter().any(is_lost), "{:?}", kinds(&violations));
}
