//! Nodes that are stopped and started one after the other while clients write: no client
//! notices more than that it reconnects.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chat_adapters::postgres;
use chat_test_support::free_port;

use crate::support::exchange::Exchange;
use crate::support::roaming::Crowd;
use crate::support::{Database, Gateway};

/// A node that is started again on the same port.
struct Node {
    gateway: Gateway,
    port: String,
}

impl Node {
    fn start(database: &Database, exchange: &Exchange) -> Self {
        let port = free_port().unwrap().to_string();
        Self {
            gateway: start(database, exchange, &port),
            port,
        }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address
    }

    /// Stops the node as a deployment does.
    fn stop(&mut self) {
        let signalled = Instant::now();
        self.gateway.signal("TERM");
        assert_eq!(self.gateway.wait().code(), Some(0));
        assert!(signalled.elapsed() < Duration::from_secs(10));
    }

    fn start_again(&mut self, database: &Database, exchange: &Exchange) {
        self.gateway = start(database, exchange, &self.port);
    }
}

fn start(database: &Database, exchange: &Exchange, port: &str) -> Gateway {
    let [url, prefix] = exchange.settings();
    Gateway::start_with(database, &[url, prefix, ("PORT", port)])
}

async fn no_client_notices_a_rolling_restart(size: usize) {
    let (database, exchange) = (Database::postgres(), Exchange::shared());
    let start = |_| Node::start(&database, &exchange);
    let mut nodes: Vec<Node> = (0..size).map(start).collect();
    let addresses: Vec<SocketAddr> = nodes.iter().map(Node::address).collect();
    let mut crowd = Crowd::start(9, &addresses, |client| client).await;
    for node in &mut nodes {
        node.stop();
        crowd.wait_for_acknowledgements(100).await;
        node.start_again(&database, &exchange);
        crowd.wait_for_acknowledgements(100).await;
    }
    for roamer in crowd.finish(&database).await {
        assert!(!roamer.ended.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_two_nodes_restart_one_after_the_other() {
    no_client_notices_a_rolling_restart(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_three_nodes_restart_one_after_the_other() {
    no_client_notices_a_rolling_restart(3).await;
}

/// What a newer version may bring while the older one still runs.
const MIGRATION: &str = "
ALTER TABLE messages ADD COLUMN kind text NOT NULL DEFAULT 'text';
CREATE INDEX messages_kind ON messages (room_id, kind);
CREATE FUNCTION set_kind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.kind := CASE WHEN NEW.content LIKE '%9' THEN 'nine' ELSE NEW.kind END;
    RETURN NEW;
END
$$;
CREATE TRIGGER messages_kind BEFORE INSERT ON messages
    FOR EACH ROW EXECUTE FUNCTION set_kind();
";

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_the_first_restarted_node_brings_a_migration() {
    const NAME: &str = "9999_from_the_future";
    let folder = tempfile::tempdir().unwrap();
    let migration = folder.path().join(NAME);
    std::fs::create_dir(&migration).unwrap();
    std::fs::write(migration.join("up.sql"), MIGRATION).unwrap();

    let (database, exchange) = (Database::postgres(), Exchange::shared());
    let mut nodes = [0, 1].map(|_| Node::start(&database, &exchange));
    let addresses = nodes.each_ref().map(Node::address);
    let mut crowd = Crowd::start(9, &addresses, |client| client).await;
    nodes[0].stop();

    // What the newer version does before it listens. A query of the operator's delays it, and
    // must not delay the clients of the other node.
    let query = database.begin("SELECT count(*) FROM messages");
    let url = database.url();
    let migrating = tokio::spawn(async move {
        let database = postgres::Database::open(&url.parse().unwrap(), 1).unwrap();
        database.migrate_from(folder.path()).await.unwrap()
    });
    database.wait_for_lock_wait();
    // Longer than a client may wait.
    let waiting = Instant::now();
    while waiting.elapsed() < Duration::from_secs(3) {
        crowd.wait_for_acknowledgements(10).await;
    }
    assert!(!migrating.is_finished());
    drop(query);
    assert_eq!(migrating.await.unwrap(), [NAME]);

    // The older version starts on the newer schema as well.
    nodes[0].start_again(&database, &exchange);
    crowd.wait_for_acknowledgements(100).await;
    nodes[1].stop();
    crowd.wait_for_acknowledgements(100).await;
    nodes[1].start_again(&database, &exchange);
    crowd.wait_for_acknowledgements(100).await;
    for roamer in crowd.finish(&database).await {
        let slowest = roamer.slowest;
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    }
    let kinds = database.sql("SELECT kind, count(*) > 0 FROM messages GROUP BY kind ORDER BY kind");
    assert_eq!(kinds, "nine|t\ntext|t");
}
