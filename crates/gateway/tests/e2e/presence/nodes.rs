//! Presence across several nodes, and what is left of it without Redis.

use std::time::{Duration, Instant};

use chat_test_support::{Redis, RedisOptions};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{AWAY, SOON, offline, online, present, told, watch};
use crate::nodes::group::Group;
use crate::rules::{ROOM, create};
use crate::support::DEADLINE;
use crate::support::client::Client;

/// Asks who is in the room until the answer is as expected.
async fn until_present(client: &mut Client, is_met: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let asking = async {
        loop {
            last = present(client).await;
            if is_met(&last) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let met = timeout(DEADLINE, asking).await;
    assert!(met.is_ok(), "{last}");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_lists_its_users_on_all_nodes_and_each_once() {
    let group = Group::start(2).await;
    let mut ada = group.nodes[0].connect("ada").await;
    let mut device = group.nodes[1].connect("ada").await;
    let mut bob = group.nodes[1].connect("bob").await;
    for client in [&mut ada, &mut device, &mut bob] {
        client.join(ROOM).await;
    }
    let expected = json!({
        "ok": true, "count": 2, "complete": true,
        "users": [{"id": "ada", "name": "x"}, {"id": "bob", "name": "x"}]
    });
    until_present(&mut ada, |answer| answer["complete"] == true).await;
    assert_eq!(present(&mut ada).await, expected);
    until_present(&mut bob, |answer| *answer == expected).await;
    // What has just happened on another node is seen.
    let mut eve = group.nodes[1].connect("eve").await;
    for _ in 0..5 {
        eve.join(ROOM).await;
        assert_eq!(present(&mut ada).await["count"], 3);
        eve.call("leaveRoom", &json!({"roomId": ROOM})).await;
        assert_eq!(present(&mut ada).await["count"], 2);
    }
    let crowd = 300;
    let mut clients = Vec::new();
    for n in 0..crowd {
        let mut client = group.nodes[n % 2].connect(&(n / 2).to_string()).await;
        client.join(ROOM).await;
        clients.push(client);
    }
    let many = present(&mut ada).await;
    assert_eq!(many["count"], crowd / 2 + 2, "{many}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_users_of_other_nodes_and_of_one_that_is_killed() {
    let group = Group::start(3).await;
    create(
        &group.database,
        "private",
        &[("ada", "owner"), ("bob", "member"), ("eve", "member")],
    );
    // Only the name of a user that has written, or left before, is stored.
    group
        .database
        .sql("INSERT INTO users (id, name) VALUES ('eve', 'x')");
    let mut ada = group.nodes[0].connect("ada").await;
    watch(&mut ada, &["bob", "eve"]).await;
    let bob = group.nodes[1].connect("bob").await;
    assert_eq!(told(&mut ada, SOON).await, online("bob"));
    // To move to another node is not reported.
    drop(bob);
    sleep(Duration::from_secs(3)).await;
    let _bob = group.nodes[2].connect("bob").await;
    let _eve = group.nodes[1].connect("eve").await;
    assert_eq!(told(&mut ada, SOON).await, online("eve"));
    // A node that starts late learns it as well.
    let late = watch(&mut group.nodes[2].connect("ada").await, &["bob", "eve"]).await;
    assert_eq!(late, [online("bob"), online("eve")]);
    sleep(Duration::from_secs(9)).await;
    let killed = Instant::now();
    group.nodes[1].signal("KILL");
    let gone = told(&mut ada, Duration::from_secs(30)).await;
    assert_eq!(
        (&gone["userId"], &gone["online"]),
        (&json!("eve"), &json!(false))
    );
    assert!(gone["lastSeenAt"].is_string(), "{gone}");
    assert!(killed.elapsed() < Duration::from_secs(30));
    let again = watch(&mut ada, &["bob", "eve"]).await;
    assert_eq!(
        (&again[0], &again[1]["online"]),
        (&online("bob"), &json!(false))
    );
    // One of the others has stored it, in a moment.
    let stored = "SELECT count(*) FROM users WHERE id = 'eve' AND last_seen_at IS NOT NULL";
    let deadline = Instant::now() + SOON;
    while group.database.sql(stored) != "1" {
        assert!(Instant::now() < deadline, "it is stored");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_local_presence_goes_on_and_the_rest_comes_back() {
    let mut redis = Redis::start(RedisOptions::default()).unwrap();
    let group = Group::start_on(&redis.url(), 2);
    group.until_connected(1).await;
    create(
        &group.database,
        "private",
        &[("ada", "owner"), ("bob", "member"), ("eve", "member")],
    );
    let mut ada = group.nodes[0].connect("ada").await;
    let mut bob = group.nodes[1].connect("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    until_present(&mut ada, |answer| {
        answer["count"] == 2 && answer["complete"] == true
    })
    .await;
    let mut watcher = group.nodes[0].connect("ada").await;
    assert_eq!(
        watch(&mut watcher, &["eve", "bob"]).await,
        [offline("eve"), online("bob")]
    );
    redis.kill().unwrap();
    group.until_connected(0).await;
    let alone = json!({
        "ok": true, "users": [{"id": "ada", "name": "x"}], "count": 1, "complete": false
    });
    assert_eq!(present(&mut ada).await, alone);
    let _eve = group.nodes[0].connect("eve").await;
    assert_eq!(told(&mut watcher, SOON).await, online("eve"));
    // Whether the users of the other node are online is not known for ever.
    let gone = told(&mut watcher, AWAY).await;
    assert_eq!(
        (&gone["userId"], &gone["online"]),
        (&json!("bob"), &json!(false))
    );
    assert_eq!(present(&mut ada).await, alone);
    redis.start_again().unwrap();
    assert_eq!(told(&mut watcher, SOON).await, online("bob"));
    let both = until_present(&mut ada, |answer| answer["complete"] == true).await;
    assert_eq!(both["count"], 2, "{both}");
}

/// The user of the documentation may publish and subscribe, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn presence_needs_no_other_permission_than_hints() {
    let user = chat_test_support::RedisUser {
        name: "chat".into(),
        password: "secret".into(),
        rules: "+hello +ping +subscribe +unsubscribe +publish &test-*".into(),
    };
    let redis = Redis::start(RedisOptions {
        user: Some(user),
        ..RedisOptions::default()
    })
    .unwrap();
    let group = Group::start_on(&redis.url(), 2);
    group.until_connected(1).await;
    let mut ada = group.nodes[0].connect("ada").await;
    let mut bob = group.nodes[1].connect("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    until_present(&mut ada, |answer| {
        answer["count"] == 2 && answer["complete"] == true
    })
    .await;
    assert_eq!(redis.command(&["DBSIZE"]).unwrap(), "0");
}
