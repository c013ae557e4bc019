//! What many changes at once take, and what they cost others. `docs/performance.md` has the
//! figures and how to measure them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, interval};
use tokio_tungstenite::tungstenite::Message;

use crate::support::bystander::{Bystander, print};
use crate::support::client::{Client, Socket};
use crate::support::{Database, Gateway};

/// How often each measurement is made.
const RUNS: usize = 5;
/// How many clients connect at the same time.
const CONNECTING: usize = 50;

/// Connects users that have joined room 1.
async fn connect(gateway: &Gateway, users: usize) -> Vec<Client> {
    let users: Vec<_> = (0..users).collect();
    let mut clients = Vec::new();
    for users in users.chunks(CONNECTING) {
        let connecting = users.iter().map(async |user| {
            let mut client = gateway.connect(&user.to_string()).await;
            client.join(1).await;
            client
        });
        clients.extend(join_all(connecting).await);
    }
    clients
}

/// How long a thousand users wait for the acknowledgements of reactions that all set at once.
async fn react_at_once(database: &Database) {
    const USERS: usize = 1000;
    let gateway = Gateway::start(database);
    let mut author = gateway.connect("author").await;
    author.join(1).await;
    let mut clients = connect(&gateway, USERS).await;
    for seq in 1..=RUNS {
        author.send(1, "hello").await;
        let began = Instant::now();
        let reacting = clients.into_iter().map(|mut client| {
            tokio::spawn(async move {
                let reaction = json!({"roomId": 1, "seq": seq, "key": "+", "on": true});
                let answer = client.call("setReaction", &reaction).await;
                assert_eq!(answer["ok"], true, "{answer}");
                (began.elapsed(), client)
            })
        });
        let reacting: Vec<_> = reacting.collect();
        let mut latencies = Vec::new();
        clients = Vec::new();
        for task in reacting {
            let (latency, client) = task.await.unwrap();
            latencies.push(latency);
            clients.push(client);
        }
        print("a thousand reactions at once", latencies);
    }
}

/// What a member of the room does again and again.
#[derive(Debug, Clone, Copy)]
enum Storm {
    /// Sets its reaction to the room's first message, and clears it.
    Reactions,
    /// Edits a message of its own.
    Edits,
}

impl Storm {
    fn per_second(self) -> u64 {
        match self {
            Self::Reactions => 1000,
            Self::Edits => 500,
        }
    }

    /// Returns the `n`-th change of the member whose message is at this position.
    fn change(self, n: u64, seq: u64) -> Value {
        match self {
            Self::Reactions => json!(["setReaction",
                {"roomId": 1, "seq": 1, "key": "+", "on": n.is_multiple_of(2)}]),
            Self::Edits => json!(["editMessage",
                {"roomId": 1, "seq": seq, "content": format!("version {n}")}]),
        }
    }
}

/// Sends what is asked for, and counts the changes that are made. Unlike other clients of these
/// tests, it does not check each packet, which would cost more than all else.
async fn take_part(
    mut socket: Socket,
    mut asked: mpsc::UnboundedReceiver<String>,
    made: Arc<AtomicU64>,
) {
    loop {
        tokio::select! {
            Some(packet) = asked.recv() => socket.send(Message::text(packet)).await.unwrap(),
            Some(packet) = socket.next() => match packet.unwrap() {
                Message::Text(text) if text == "2" => {
                    socket.send(Message::text("3")).await.unwrap();
                }
                Message::Text(text) if text.starts_with("43") => {
                    assert!(text.contains(r#""ok":true"#), "{text}");
                    made.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            },
            else => return,
        }
    }
}

/// How long messages of another room take, before and during a storm of changes.
async fn storm(database: &Database, storm: Storm) {
    const MEMBERS: usize = 200;
    const PERIOD: Duration = Duration::from_secs(5);
    const TICK: Duration = Duration::from_millis(10);
    let gateway = Gateway::start(database);
    let made = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    let mut members = Vec::new();
    for mut client in connect(&gateway, MEMBERS).await {
        let sent = client.send(1, "hello").await;
        let seq = sent["message"]["seq"].as_u64().unwrap();
        let (changes, asked) = mpsc::unbounded_channel();
        members.push((changes, seq));
        connections.spawn(take_part(client.socket, asked, made.clone()));
    }
    let mut bystander = Bystander::join(&gateway, 2).await;
    let (mut before, mut during, mut n) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        before.push(print("before", bystander.undisturbed(PERIOD).await));
        let (began, mut ticks) = (Instant::now(), interval(TICK));
        let made_before = made.load(Ordering::Relaxed);
        let changing = async {
            let mut asked = 0;
            while began.elapsed() < PERIOD {
                ticks.tick().await;
                let due = began.elapsed().as_millis() as u64 * storm.per_second() / 1000;
                while asked < due {
                    let size = members.len() as u64;
                    let (changes, seq) = &members[(n % size) as usize];
                    let change = storm.change(n / size, *seq);
                    changes.send(format!("42{n}{change}")).unwrap();
                    (asked, n) = (asked + 1, n + 1);
                }
            }
        };
        let ((), latencies) = tokio::join!(changing, bystander.undisturbed(PERIOD));
        let made = made.load(Ordering::Relaxed) - made_before;
        let rate = made as f64 / began.elapsed().as_secs_f64();
        during.push(print(
            &format!("{storm:?}, {rate:.0} per second"),
            latencies,
        ));
    }
    for p99 in [&mut before, &mut during] {
        p99.sort_unstable();
    }
    println!(
        "{storm:?}: median of p99 {:.1?} before, {:.1?} during",
        before[RUNS / 2],
        during[RUNS / 2]
    );
    assert!(connections.try_join_next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures latencies; see docs/performance.md"]
async fn reactions_at_once_on_sqlite() {
    react_at_once(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures latencies; see docs/performance.md"]
async fn reactions_at_once_on_postgres() {
    react_at_once(&Database::postgres()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures latencies for two minutes; see docs/performance.md"]
async fn storms_on_sqlite() {
    for kind in [Storm::Reactions, Storm::Edits] {
        storm(&Database::sqlite(), kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures latencies for two minutes; see docs/performance.md"]
async fn storms_on_postgres() {
    for kind in [Storm::Reactions, Storm::Edits] {
        storm(&Database::postgres(), kind).await;
    }
}
