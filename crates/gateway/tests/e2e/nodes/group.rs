//! Several gateways on one PostgreSQL and one Redis.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::support::client::get;
use crate::support::{DEADLINE, Database, Gateway};

/// Gateways that exchange hints.
pub(super) struct Group {
    pub(super) database: Database,
    pub(super) nodes: Vec<Gateway>,
    pub(super) redis_url: String,
    pub(super) prefix: String,
}

impl Group {
    /// Starts gateways on the Redis that `cargo xtask test` provides.
    pub(super) async fn start(size: usize) -> Self {
        let url = std::env::var("TEST_REDIS_URL")
            .expect("TEST_REDIS_URL is not set: run `cargo xtask test`, which provides Redis");
        let group = Self::start_on(&url, size);
        group.until_connected(1).await;
        group
    }

    /// Starts gateways on this Redis, whether it is there or not.
    pub(super) fn start_on(redis_url: &str, size: usize) -> Self {
        let mut group = Self {
            database: Database::postgres(),
            nodes: Vec::new(),
            redis_url: redis_url.to_owned(),
            prefix: format!("test-{:016x}:", RandomState::new().hash_one(())),
        };
        for _ in 0..size {
            let node = Gateway::start_with(&group.database, &group.environment());
            group.nodes.push(node);
        }
        group
    }

    /// Returns the settings that all of its processes share.
    pub(super) fn environment(&self) -> [(&str, &str); 2] {
        [
            ("REDIS_URL", &self.redis_url),
            ("REDIS_PREFIX", &self.prefix),
        ]
    }

    /// Waits until every node has reported this as `chat_redis_connected`.
    pub(super) async fn until_connected(&self, connected: u64) {
        for node in &self.nodes {
            until_metric(node, "chat_redis_connected", |value| value == connected).await;
        }
    }
}

/// Returns the value of a metric.
pub(super) async fn metric(node: &Gateway, name: &str) -> u64 {
    let (status, text) = get(node.address, "/metrics").await;
    assert_eq!(status, 200);
    let value = text.lines().find_map(|line| {
        let (metric, value) = line.split_once(' ')?;
        (metric == name).then(|| value.parse().unwrap())
    });
    value.unwrap_or_else(|| panic!("{name} is not in {text}"))
}

/// Waits until a metric has a value as expected.
pub(super) async fn until_metric(node: &Gateway, name: &str, is_met: impl Fn(u64) -> bool) {
    let poll = async {
        while !is_met(metric(node, name).await) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, poll).await.expect(name);
}
