//! Statistics of one node, and of several.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep, timeout};

use super::{Api, KEYS, start};
use crate::nodes::group::Group;
use crate::support::{DEADLINE, Database, Gateway};

crate::on_each_database!(a_node_alone_states_what_it_does);

async fn a_node_alone_states_what_it_does(database: &Database) {
    let gateway = start(database);
    let mut ada = gateway.connect("ada").await;
    let _second = gateway.connect("ada").await;
    let _bob = gateway.connect("bob").await;
    ada.join(1).await;
    ada.join(2).await;
    let stats = Api::of(&gateway).get("/stats").await.body(200);
    let expected = json!({
        "nodes": [{ "connections": 3, "users": 2, "rooms": 2 }],
        "complete": true,
    });
    assert_eq!(stats, expected);
}

/// Waits until a node's statistics are as expected.
async fn until(gateway: &Gateway, expected: Value) {
    let mut stats = Value::Null;
    let poll = async {
        while stats != expected {
            sleep(Duration::from_millis(20)).await;
            stats = Api::of(gateway).get("/stats").await.body(200);
        }
    };
    if timeout(DEADLINE, poll).await.is_err() {
        panic!("expected {expected}, but the last was {stats}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_states_what_all_of_them_do() {
    let mut group = Group::start_with(2, &[KEYS]).await;
    let mut ada = group.nodes[0].connect("ada").await;
    ada.join(1).await;
    let first = json!({ "connections": 1, "users": 1, "rooms": 1 });
    let second = json!({ "connections": 0, "users": 0, "rooms": 0 });
    let both = |nodes: &[&Value]| json!({ "nodes": nodes, "complete": true });
    until(&group.nodes[0], both(&[&first, &second])).await;
    until(&group.nodes[1], both(&[&second, &first])).await;
    // A node that has died is forgotten.
    group.nodes.pop();
    until(&group.nodes[0], both(&[&first])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_redis_states_that_others_are_missing() {
    let database = Database::postgres();
    let settings = [KEYS, ("REDIS_URL", "redis://127.0.0.1:1")];
    let gateway = Gateway::start_with(&database, &settings);
    let stats = Api::of(&gateway).get("/stats").await.body(200);
    let own = json!({ "connections": 0, "users": 0, "rooms": 0 });
    assert_eq!(stats, json!({ "nodes": [own], "complete": false }));
}
