//! What happens to hints when Redis fails: nothing waits for it, nothing arrives late, and
//! when it is back they flow again within a second.

use std::time::Duration;

use chat_domain::ports::{HintsHealth as _, LostHints, RoomEvents as _};
use chat_test_support::{Redis, RedisOptions};
use tokio::time::{Instant, timeout};

use crate::proxy::{Direction, Proxy};
use crate::redis_nodes::{Node, message, options};
use crate::room;
use crate::room_events::{hint, position};

/// How soon hints must flow again.
const RECOVERY: Duration = Duration::from_secs(1);
/// The number of hints that are announced while the server is gone.
const MISSED: u64 = 100;

/// A server of the test's own, and two nodes on it; both serve room 1.
struct World {
    redis: Redis,
    first: Node,
    second: Node,
}

impl World {
    async fn start() -> Self {
        let redis = Redis::start(RedisOptions::default()).unwrap();
        Self::on(redis.url(), redis).await
    }

    async fn on(url: String, redis: Redis) -> Self {
        let options = options(&url);
        let mut world = Self {
            redis,
            first: Node::start(&options),
            second: Node::start(&options),
        };
        world.second.exchange.serve(room(1));
        world.first.exchange.serve(room(1));
        world.first.reach(&mut world.second, 1).await;
        world
    }

    /// Waits until both nodes have noticed that the server is gone, then announces hints:
    /// they reach this node's listener at once, and are lost for the other.
    async fn announce_without_server(&mut self) {
        for node in [&self.first, &self.second] {
            node.until("the loss is noticed", |s| !s.is_connected).await;
        }
        let before = self.first.status().lost.disconnected;
        for n in 0..MISSED {
            self.first.exchange.announce(hint(1, 1000 + n));
            assert_eq!(self.first.subscription.next().await, hint(1, 1000 + n));
        }
        let lost = self.first.status().lost.disconnected - before;
        assert_eq!(lost, MISSED);
    }

    /// Checks that hints flow again, in both directions, within a second, and that no hint
    /// arrives that was announced while the server was gone.
    async fn assert_recovers(&mut self) {
        let began = Instant::now();
        loop {
            self.first.exchange.announce(hint(1, 1));
            let next = self.second.subscription.next();
            if let Ok(hint) = timeout(Duration::from_millis(10), next).await {
                assert_eq!(position(&hint), 1, "a hint that was lost arrives");
                break;
            }
            assert!(began.elapsed() < RECOVERY * 10, "no hint arrives");
        }
        let took = began.elapsed();
        assert!(took < RECOVERY, "{took:?}");
        self.first.reach(&mut self.second, 1).await;
        self.second.reach(&mut self.first, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_flow_again_after_redis_was_killed_and_restarted() {
    let mut world = World::start().await;
    for round in 1..=3 {
        world.redis.kill().unwrap();
        world.announce_without_server().await;
        world.redis.start_again().unwrap();
        world.assert_recovers().await;
        assert_eq!(world.first.status().connections, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_redis_is_noticed_and_hints_flow_again_when_it_continues() {
    let mut world = World::start().await;
    world.redis.signal("STOP").unwrap();
    world.announce_without_server().await;
    world.redis.signal("CONT").unwrap();
    world.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_redis_and_uses_it_when_it_is_there() {
    let mut redis = Redis::start(RedisOptions::default()).unwrap();
    redis.kill().unwrap();
    let options = options(&redis.url());
    let mut world = World {
        redis,
        first: Node::start(&options),
        second: Node::start(&options),
    };
    world.first.exchange.serve(room(1));
    world.second.exchange.serve(room(1));
    world.announce_without_server().await;
    assert_eq!(world.first.status().connections, 0);
    world.redis.start_again().unwrap();
    world.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_off_in_either_direction_is_noticed() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let proxy = Proxy::start(redis.port()).await;
    let mut world = World::on(format!("redis://{}", proxy.address), redis).await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.swallow(direction, true);
        world.announce_without_server().await;
        proxy.swallow(direction, false);
        world.assert_recovers().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_redis_closes_is_replaced() {
    let mut world = World::start().await;
    let killed = world.redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(killed.unwrap(), "2");
    for node in [&world.first, &world.second] {
        node.until("it is connected again", |s| {
            s.connections == 2 && s.is_connected
        })
        .await;
    }
    world.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exceeds_the_queue_is_lost_and_counted_and_nothing_waits() {
    const ANNOUNCED: u64 = 60_000;
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let node = Node::start(&options(&redis.url()));
    node.until("it is connected", |s| s.is_connected).await;
    // Nothing is confirmed any more, and the loss is not noticed yet.
    redis.signal("STOP").unwrap();
    for n in 1..=ANNOUNCED {
        node.exchange.announce(message(1, n, "{}"));
    }
    let status = node.status();
    assert!(status.lost.queue_full > 0, "{status:?}");
    node.until("the loss is noticed", |s| !s.is_connected).await;
    // What waits in the queue is counted once the task that noticed the loss has emptied it.
    node.until("all are counted", |s| {
        let LostHints {
            disconnected,
            queue_full,
            unconfirmed,
        } = s.lost;
        disconnected + queue_full + unconfirmed == ANNOUNCED
    })
    .await;
    redis.signal("CONT").unwrap();
    node.until("it is connected", |s| s.is_connected).await;
    assert_eq!(node.status().published, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_ends_when_it_is_dropped_and_not_before() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let node = Node::start(&options(&redis.url()));
    node.until("it is connected", |s| s.is_connected).await;
    let stopped = timeout(Duration::from_millis(50), node.exchange.stopped()).await;
    assert!(stopped.is_err(), "the task has ended");
    let clients = || {
        redis
            .command(&["CLIENT", "LIST", "TYPE", "pubsub"])
            .unwrap()
    };
    assert_eq!(clients().lines().count(), 1);
    drop(node);
    crate::redis_nodes::eventually("the connection is closed", async || clients().is_empty()).await;
}
