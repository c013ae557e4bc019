//! Nodes that exchange hints through Redis, as the tests of the adapter use them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use chat_adapters::redis::{RedisExchange, RedisOptions};
use chat_domain::ports::{Hint, HintListener, HintsHealth as _, HintsStatus, RoomEvents};
use chat_domain::{Generation, RoomId, StoredMessage};
use redis::Commands as _;
use tokio::time::{Instant, sleep, timeout};

use crate::room;
use crate::room_events::{DEADLINE, Subscription, hint, position};

/// One node, with a listener that takes its hints.
pub(crate) struct Node {
    pub(crate) exchange: Arc<RedisExchange>,
    pub(crate) subscription: Subscription,
}

impl Node {
    /// Starts a node, whether the server is there or not.
    pub(crate) fn start(options: &RedisOptions) -> Self {
        let exchange = Arc::new(RedisExchange::start(options).unwrap());
        Self {
            subscription: Subscription::new(&*exchange),
            exchange,
        }
    }

    pub(crate) fn status(&self) -> HintsStatus {
        self.exchange.status()
    }

    /// Waits until the node's status is as expected.
    pub(crate) async fn until(&self, what: &str, is_met: impl Fn(&HintsStatus) -> bool) {
        eventually(what, async || is_met(&self.status())).await;
    }

    /// Announces hints until one arrives at another node; then takes what else has arrived.
    /// Returns the time that this took.
    pub(crate) async fn reach(&mut self, other: &mut Self, room_number: u64) -> Duration {
        // Both listeners also have the hints that their own nodes announced.
        while other.subscription.try_next().is_some() {}
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < DEADLINE, "no hint arrives");
            self.exchange.announce(hint(room_number, 1));
            let next = other.subscription.next();
            if timeout(Duration::from_millis(20), next).await.is_ok() {
                break;
            }
        }
        let took = began.elapsed();
        // Of this node's hints, this one is the last.
        self.exchange.announce(hint(room_number, 2));
        let last = async { while position(&other.subscription.next().await) != 2 {} };
        if timeout(DEADLINE / 2, last).await.is_err() {
            panic!(
                "a hint is missing: {:?} {:?}",
                self.status(),
                other.status()
            );
        }
        while self.subscription.try_next().is_some() {}
        took
    }
}

/// Options with a prefix that no other test uses.
pub(crate) fn options(url: &str) -> RedisOptions {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    RedisOptions {
        url: url.parse().unwrap(),
        prefix: format!("test-{:016x}:", u64::from_ne_bytes(random)),
    }
}

/// Options for the server that `cargo xtask test` provides.
pub(crate) fn shared_options() -> RedisOptions {
    options(&shared_url())
}

pub(crate) fn shared_url() -> String {
    std::env::var("TEST_REDIS_URL")
        .expect("TEST_REDIS_URL is not set: run `cargo xtask test`, which provides Redis")
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut is_met: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !is_met().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, poll).await.expect(what);
}

/// A connection of the test itself.
pub(crate) fn client(url: &str) -> redis::Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

/// Waits until this many nodes are subscribed to a room.
pub(crate) async fn served_by(url: &str, prefix: &str, room_number: u64, nodes: u64) {
    let mut client = client(url);
    let channel = format!("{prefix}room:{room_number}");
    eventually("the room's subscriptions", async || {
        let reply: (String, u64) = redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(&channel)
            .query(&mut client)
            .unwrap();
        reply.1 == nodes
    })
    .await;
}

/// Publishes anything.
pub(crate) fn publish(url: &str, channel: &str, payload: &[u8]) -> u64 {
    client(url).publish(channel, payload).unwrap()
}

/// Returns a message's hint.
pub(crate) fn message(room_number: u64, n: u64, encoded: &str) -> Hint {
    Hint {
        room_id: room(room_number),
        generation: Generation::FIRST,
        entry: chat_domain::RoomEntry::Message(Arc::new(StoredMessage::new(
            crate::seq(n),
            encoded.into(),
        ))),
    }
}

/// Two nodes as one carrier: what is announced on the first reaches the listeners of the
/// second.
pub(crate) struct TwoNodes {
    first: RedisExchange,
    second: RedisExchange,
}

impl TwoNodes {
    /// Starts the nodes and waits until the second serves the rooms of the contract's tests.
    pub(crate) async fn start() -> Self {
        const ROOMS: u64 = 8;
        let options = shared_options();
        let start = || RedisExchange::start(&options).unwrap();
        let nodes = Self {
            first: start(),
            second: start(),
        };
        (1..=ROOMS).for_each(|n| nodes.second.serve(room(n)));
        for n in 1..=ROOMS {
            served_by(&shared_url(), &options.prefix, n, 1).await;
        }
        eventually("both are connected", async || {
            nodes.first.status().is_connected
        })
        .await;
        nodes
    }
}

impl RoomEvents for TwoNodes {
    fn announce(&self, hint: Hint) {
        self.first.announce(hint);
    }

    fn serve(&self, room_id: RoomId) {
        self.second.serve(room_id);
    }

    fn release(&self, room_id: RoomId) {
        self.second.release(room_id);
    }

    fn subscribe(&self, listener: Weak<dyn HintListener>) {
        RoomEvents::subscribe(&self.second, listener);
    }
}
