//! Several gateways on one PostgreSQL and one Redis.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::support::exchange::Exchange;
use crate::support::{DEADLINE, Database, Gateway, metric};

/// Gateways that exchange hints.
pub(crate) struct Group {
    pub(crate) database: Database,
    pub(crate) nodes: Vec<Gateway>,
    pub(crate) exchange: Exchange,
}

impl Group {
    /// Starts gateways on the Redis that `cargo xtask test` provides.
    pub(crate) async fn start(size: usize) -> Self {
        Self::start_with(size, &[]).await
    }

    /// Starts gateways with these settings as well.
    pub(crate) async fn start_with(size: usize, settings: &[(&str, &str)]) -> Self {
        let group = Self::with(Exchange::shared(), size, settings);
        group.until_connected(1).await;
        group
    }

    /// Starts gateways on this Redis, whether it is there or not.
    pub(crate) fn start_on(redis_url: &str, size: usize) -> Self {
        Self::with(Exchange::on(redis_url), size, &[])
    }

    fn with(exchange: Exchange, size: usize, settings: &[(&str, &str)]) -> Self {
        let database = Database::postgres();
        let settings = [&exchange.settings(), settings].concat();
        let start = |_| Gateway::start_with(&database, &settings);
        let nodes = (0..size).map(start).collect();
        Self {
            database,
            nodes,
            exchange,
        }
    }

    /// Waits until every node has reported this as `chat_redis_connected`.
    pub(crate) async fn until_connected(&self, connected: u64) {
        for node in &self.nodes {
            until_metric(node, "chat_redis_connected", |value| value == connected).await;
        }
    }
}

/// Waits until a metric has a value as expected.
pub(crate) async fn until_metric(node: &Gateway, name: &str, is_met: impl Fn(u64) -> bool) {
    let poll = async {
        while !is_met(metric(node, name).await) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, poll).await.expect(name);
}
