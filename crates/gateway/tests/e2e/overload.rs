//! More messages than the database stores: what cannot be stored in time is refused at
//! once, and users who send little are not affected.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::support::client::Client;
use crate::support::{Database, Gateway};

const SENDERS: u64 = 6;
/// How often an open loop sends.
const TICK: Duration = Duration::from_millis(20);

/// What became of messages: how long each took until its answer.
#[derive(Default)]
struct Answers {
    stored: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Answers {
    fn add(&mut self, answer: &Value, took: Duration) {
        match answer["error"]["code"].as_str() {
            None => self.stored.push(took),
            Some("unavailable") => self.refused.push(took),
            Some(_) => panic!("{answer}"),
        }
    }
}

/// A sender with a room of its own, and the messages that are not answered yet.
struct Sender {
    client: Client,
    room: u64,
    pending: HashMap<u64, Instant>,
    answers: Answers,
}

impl Sender {
    async fn start(gateway: &Gateway, room: u64) -> Self {
        let mut client = gateway.connect(&room.to_string()).await;
        client.join(room).await;
        Self {
            client,
            room,
            pending: HashMap::new(),
            answers: Answers::default(),
        }
    }

    async fn send(&mut self) {
        let message = json!({"roomId": self.room, "content": "x"});
        let id = self.client.start("sendMessage", &message).await;
        self.pending.insert(id, Instant::now());
    }

    /// Reads one packet.
    async fn read(&mut self) {
        let packet = self.client.packet().await.unwrap();
        let Some(ack) = packet.strip_prefix("43") else {
            return;
        };
        let (id, answer) = ack.split_at(ack.find('[').unwrap());
        let sent = self.pending.remove(&id.parse().unwrap()).unwrap();
        let [answer]: [Value; 1] = serde_json::from_str(answer).unwrap();
        self.answers.add(&answer, sent.elapsed());
    }

    /// Keeps this many messages in flight.
    async fn closed_loop(mut self, in_flight: usize, until: Instant) -> Answers {
        while Instant::now() < until {
            while self.pending.len() < in_flight {
                self.send().await;
            }
            self.read().await;
        }
        self.finish().await
    }

    /// Sends at a constant rate, whatever becomes of the messages.
    async fn open_loop(mut self, per_second: f64, until: Instant) -> Answers {
        let began = Instant::now();
        let mut sent = 0.0;
        while Instant::now() < until {
            while sent < began.elapsed().as_secs_f64() * per_second {
                self.send().await;
                sent += 1.0;
            }
            let tick = tokio::time::Instant::now() + TICK;
            while timeout_at(tick, self.read()).await.is_ok() {}
        }
        self.finish().await
    }

    async fn finish(mut self) -> Answers {
        while !self.pending.is_empty() {
            self.read().await;
        }
        self.answers
    }
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn at_twice_the_load_what_is_accepted_is_stored_in_time_and_light_senders_are_served() {
    let database = Database::postgres();
    let gateway = Gateway::start_with(&database, &[("MAX_IN_FLIGHT", "0"), ("MESSAGE_RATE", "0")]);
    // The database takes about a millisecond for a message.
    database.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION slow()",
    );

    let senders = async || {
        let mut senders = Vec::new();
        for room in 1..=SENDERS {
            senders.push(Sender::start(&gateway, room).await);
        }
        senders
    };
    let mut loops = JoinSet::new();
    let began = Instant::now();
    for sender in senders().await {
        loops.spawn(sender.closed_loop(60, began + Duration::from_secs(4)));
    }
    let best: usize = loops.join_all().await.iter().map(|a| a.stored.len()).sum();
    let best = best as f64 / began.elapsed().as_secs_f64();

    let mut light = gateway.connect("light").await;
    light.join(100).await;
    let mut loops = JoinSet::new();
    let began = Instant::now();
    let until = began + Duration::from_secs(8);
    for sender in senders().await {
        loops.spawn(sender.open_loop(2.0 * best / SENDERS as f64, until));
    }
    let mut seqs = Vec::new();
    while Instant::now() < until {
        let answer = light.send(100, "x").await;
        assert_eq!(answer["ok"], true, "{answer}");
        seqs.push(answer["message"]["seq"].as_u64().unwrap());
        let page = light.call("listMessages", &json!({"roomId": 100})).await;
        assert_eq!(page["ok"], true, "{page}");
        light.join(100).await;
    }
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64));

    let mut all = Answers::default();
    for answers in loops.join_all().await {
        assert!(!answers.stored.is_empty(), "every sender has its turn");
        all.stored.extend(answers.stored);
        all.refused.extend(answers.refused);
    }
    let (stored, refused) = (all.stored.len(), all.refused.len());
    let rate = (stored + seqs.len()) as f64 / began.elapsed().as_secs_f64();
    let (accepted, shed) = (p99(all.stored), p99(all.refused));
    println!(
        "best {best:.0}/s; at twice of it {rate:.0}/s, {stored} stored in {accepted:?} (p99), \
         {refused} refused in {shed:?} (p99), light sender: {} messages",
        seqs.len()
    );
    assert!(accepted < Duration::from_secs(2), "{accepted:?}");
    assert!(shed < Duration::from_secs(1), "{shed:?}");
    assert!(rate > 0.9 * best, "{rate} of {best}");
    assert!(refused > stored / 2, "{refused} of {stored}");
}
