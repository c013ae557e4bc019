//! Watching on one node what happens on another.

use chat_test_support::{Cluster, ClusterOptions, Redis, RedisOptions};
use serde_json::json;

use super::{call, told, updated, watch};
use crate::inbox::{create, operate};
use crate::nodes::group::Group;
use crate::support::{Gateway, SECRET, command};

/// Lets Ada watch on the second node what the first one does.
async fn a_watching_connection_sees_what_another_node_does(group: &Group) {
    let database = &group.database;
    for room in [1, 2] {
        create(database, room, "private", &["ada", "bob"]);
    }
    for room in [1, 2, 3] {
        let owner = ["member", "add", "--user", "root", "--role", "owner"];
        operate(database, room, &owner);
    }
    let mut ada = group.nodes[1].connect("ada").await;
    assert_eq!(watch(&mut ada).await, 0);
    let mut bob = group.nodes[0].connect("bob").await;
    bob.join(1).await;
    bob.send(1, "hello").await;
    updated(&mut ada, 1, "seq", json!(1)).await;
    // Her own other device.
    let mut phone = group.nodes[0].connect("ada").await;
    phone.join(1).await;
    call(&mut phone, "markRead", json!({"roomId": 1, "seq": 1})).await;
    updated(&mut ada, 1, "readSeq", json!(1)).await;
    let notify = json!({"roomId": 2, "notify": "mentions"});
    call(&mut phone, "setNotify", notify).await;
    updated(&mut ada, 2, "notify", json!("mentions")).await;
    let mut root = group.nodes[0].connect("root").await;
    let member = json!({"roomId": 3, "userId": "ada", "role": "member"});
    call(&mut root, "setMember", member).await;
    told(&mut ada, "roomAdded", 3, |_| true).await;
    let user = |room: u64| json!({"roomId": room, "userId": "ada"});
    call(&mut root, "removeMember", user(1)).await;
    let removed = told(&mut ada, "roomRemoved", 1, |_| true).await;
    assert_eq!(removed["reason"], "removed");
    call(&mut root, "banMember", user(2)).await;
    let removed = told(&mut ada, "roomRemoved", 2, |_| true).await;
    assert_eq!(removed["reason"], "banned");
    bob.send(1, "not for ada").await;
    call(&mut root, "setRoom", json!({"roomId": 3, "name": "Tea"})).await;
    // The next event of all.
    let (event, summary) = ada.any_event().await;
    assert_eq!(
        (event.as_str(), &summary["name"]),
        ("roomUpdated", &json!("Tea"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_does_is_told() {
    let group = Group::start(2).await;
    a_watching_connection_sees_what_another_node_does(&group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_does_is_told_without_redis() {
    let group = Group::start_on("redis://127.0.0.1:1", 2);
    a_watching_connection_sees_what_another_node_does(&group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_summary_arrives_though_redis_stops_and_the_other_node_is_killed() {
    let mut redis = Redis::start(RedisOptions::default()).unwrap();
    let group = Group::start_on(&redis.url(), 2);
    group.until_connected(1).await;
    create(&group.database, 1, "private", &["ada", "bob"]);
    let mut ada = group.nodes[1].connect("ada").await;
    watch(&mut ada).await;
    let mut bob = group.nodes[0].connect("bob").await;
    bob.join(1).await;
    for seq in 1..=20 {
        assert_eq!(bob.send(1, "x").await["message"]["seq"], seq);
        if seq == 10 {
            redis.kill().unwrap();
        }
    }
    group.nodes[0].signal("KILL");
    updated(&mut ada, 1, "seq", json!(20)).await;
    // Nor does the survivor need Redis for its own.
    let mut phone = group.nodes[1].connect("ada").await;
    phone.join(1).await;
    call(&mut phone, "markRead", json!({"roomId": 1, "seq": 20})).await;
    updated(&mut ada, 1, "readSeq", json!(20)).await;
}

/// After a restart of the database, it is not known what has changed.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_around_an_outage_of_the_database_is_told() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let url = server.url("chat");
    let mut serve = command("serve");
    serve
        .env("DATABASE_URL", &url)
        .env("JWT_SECRET", SECRET)
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("MESSAGE_RATE", "0");
    let gateway = Gateway::spawn(serve);
    let member = |room: &str, user: &str, name: &str| {
        let mut member = command("member");
        let done = member
            .args([name, "--room", room, "--user", user])
            .env("DATABASE_URL", &url);
        if name == "add" {
            done.args(["--role", "member"]);
        }
        assert!(done.output().unwrap().status.success());
    };
    for room in ["1", "2"] {
        member(room, "ada", "add");
    }
    let mut ada = gateway.connect("ada").await;
    watch(&mut ada).await;
    for round in 1..=2 {
        server.stop_immediate().unwrap();
        until_logged(&gateway, "storage outage began", round);
        server.start_again().unwrap();
        // Before this node reads what has changed, or after.
        match round {
            1 => {
                member("3", "ada", "add");
                told(&mut ada, "roomAdded", 3, |_| true).await;
            }
            _ => {
                member("2", "ada", "remove");
                told(&mut ada, "roomRemoved", 2, |_| true).await;
            }
        }
        until_logged(&gateway, "storage outage ended", round);
    }
}

/// Waits until a message was logged this often.
fn until_logged(gateway: &Gateway, message: &str, times: usize) {
    gateway.wait_for_log(|log| (log.matches(message).count() >= times).then_some(()));
}
