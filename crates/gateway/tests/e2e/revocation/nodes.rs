//! Several nodes: with Redis, with one that Redis does not reach, and without Redis.

use std::time::{Duration, Instant};

use chat_test_support::{Redis, RedisOptions};

use super::{
    WITHOUT_REDIS, assert_ends, assert_refused, assert_serves, issued, kick, until_answered,
};
use crate::nodes::group::{Group, until_metric};
use crate::support::cable::Cable;
use crate::support::client::{Client, Polling};
use crate::support::exchange::Exchange;
use crate::support::{Database, Gateway};

/// Within what time every node acts that Redis reaches.
const WITH_REDIS: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_takes_effect_within_a_second_on_all_nodes() {
    let group = Group::start(2).await;
    let (old, new) = (issued("42", Some(9)), issued("42", Some(-3)));
    let mut ending = Vec::new();
    let mut staying = Vec::new();
    let mut polling = Vec::new();
    for node in &group.nodes {
        ending.push(Client::connect(node.address, &old).await);
        polling.push(Polling::connect(node.address, &old).await);
        let mut client = Client::connect(node.address, &new).await;
        client.join(1).await;
        staying.push(client);
    }
    let said = kick(
        "42",
        &["--revoke"],
        &group.database,
        &group.exchange.settings(),
    );
    let began = Instant::now();
    assert!(said.ends_with("received by 2 nodes\n"), "{said}");
    for client in &mut ending {
        assert_ends(client, WITH_REDIS).await;
    }
    for polling in &polling {
        polling.poll_to_end().await;
    }
    for node in &group.nodes {
        assert_refused(node, &old).await;
    }
    assert!(began.elapsed() < 2 * WITH_REDIS, "{:?}", began.elapsed());
    for client in &mut staying {
        assert_serves(client).await;
    }
    // So does lifting it.
    kick(
        "42",
        &["--lift"],
        &group.database,
        &group.exchange.settings(),
    );
    let began = Instant::now();
    for node in &group.nodes {
        until_answered(node, &old, "40{").await;
    }
    assert!(began.elapsed() < WITH_REDIS, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnection_reaches_all_nodes_and_leaves_later_connections_alone() {
    let group = Group::start(2).await;
    let settings = group.exchange.settings();
    let mut disconnected = Vec::new();
    for node in &group.nodes {
        disconnected.push(node.connect("42").await);
    }
    assert_eq!(
        kick("42", &[], &group.database, &settings),
        "received by 2 nodes\n"
    );
    for client in &mut disconnected {
        assert_eq!(client.read_to_end(WITH_REDIS).await, ["41"]);
    }
    let mut again = Vec::new();
    for node in &group.nodes {
        let mut client = node.connect("42").await;
        client.join(1).await;
        again.push(client);
    }
    // One that only the database tells them shows that they have read the first one there.
    let mut last = Vec::new();
    for node in &group.nodes {
        last.push(node.connect("43").await);
    }
    kick("43", &[], &group.database, &[]);
    for client in &mut last {
        assert_eq!(client.read_to_end(WITHOUT_REDIS).await, ["41"]);
    }
    for client in &mut again {
        assert_serves(client).await;
    }
}

/// Starts a node that Redis reaches, and one that it does not.
async fn with_one_cut_off(database: &Database, exchange: &Exchange) -> [Gateway; 2] {
    let nowhere = Exchange::on("redis://127.0.0.1:1");
    [exchange, &nowhere].map(|exchange| Gateway::start_with(database, &exchange.settings()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_redis_acts_within_ten_seconds() {
    let (database, exchange) = (Database::postgres(), Exchange::shared());
    let nodes = with_one_cut_off(&database, &exchange).await;
    until_metric(&nodes[0], "chat_redis_connected", |value| value == 1).await;
    let old = issued("42", Some(9));
    let mut revoked = Vec::new();
    let mut disconnected = Vec::new();
    for node in &nodes {
        revoked.push(Client::connect(node.address, &old).await);
        disconnected.push(node.connect("43").await);
    }
    let said = kick("42", &["--revoke"], &database, &exchange.settings());
    assert!(said.ends_with("received by 1 node\n"), "{said}");
    kick("43", &[], &database, &exchange.settings());
    for (place, within) in [(0, WITH_REDIS), (1, WITHOUT_REDIS)] {
        assert_ends(&mut revoked[place], within).await;
        assert_eq!(disconnected[place].read_to_end(within).await, ["41"]);
        assert_refused(&nodes[place], &old).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_cable_to_redis_is_cut_acts_within_ten_seconds() {
    let redis = Redis::start(RedisOptions::default()).unwrap();
    let (database, exchange) = (Database::postgres(), Exchange::on(&redis.url()));
    let cable = Cable::start(format!("127.0.0.1:{}", redis.port())).await;
    let through_cable = format!("redis://{}", cable.address);
    let node = Gateway::start_with(
        &database,
        &[
            ("REDIS_URL", &through_cable),
            ("REDIS_PREFIX", exchange.prefix()),
        ],
    );
    until_metric(&node, "chat_redis_connected", |value| value == 1).await;
    let old = issued("42", Some(9));
    let mut revoked = Client::connect(node.address, &old).await;
    let mut disconnected = node.connect("43").await;
    // Redis takes the node for connected: it counts as reached.
    cable.cut();
    for (user, arguments) in [("42", &["--revoke"][..]), ("43", &[])] {
        let said = kick(user, arguments, &database, &exchange.settings());
        assert!(said.ends_with("received by 1 node\n"), "{said}");
    }
    assert_ends(&mut revoked, WITHOUT_REDIS).await;
    assert_eq!(disconnected.read_to_end(WITHOUT_REDIS).await, ["41"]);
    assert_refused(&node, &old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_all_nodes_act_within_ten_seconds() {
    let mut redis = Redis::start(RedisOptions::default()).unwrap();
    let group = Group::start_on(&redis.url(), 2);
    group.until_connected(1).await;
    let old = issued("42", Some(9));
    let mut revoked = Vec::new();
    for node in &group.nodes {
        revoked.push(Client::connect(node.address, &old).await);
    }
    redis.kill().unwrap();
    group.until_connected(0).await;
    let said = kick(
        "42",
        &["--revoke"],
        &group.database,
        &group.exchange.settings(),
    );
    assert!(said.ends_with("stored: gateways find it within seconds\n"));
    for client in &mut revoked {
        assert_ends(client, WITHOUT_REDIS).await;
    }
    for node in &group.nodes {
        assert_refused(node, &old).await;
    }
    redis.start_again().unwrap();
    group.until_connected(1).await;
    let again = Gateway::start_with(&group.database, &group.exchange.settings());
    assert_refused(&again, &old).await;
}
