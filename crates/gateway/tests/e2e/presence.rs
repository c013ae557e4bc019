//! `listPresent`, `watchUsers` and `userPresence`: who sees that a user is online, and when it was
//! last seen.

mod cost;
mod nodes;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::rules::{ROOM, call, create};
use crate::support::client::Client;
use crate::support::{Database, Gateway, now, sign};

crate::on_each_database!(
    a_room_lists_the_visible_users_in_it,
    a_watcher_sees_its_acquaintances_come_and_go,
    a_watcher_sees_only_users_with_whom_it_shares_a_room,
    what_cannot_be_watched_is_refused,
    a_stop_stores_when_users_were_last_seen,
);

/// How long an event may take that must come.
const SOON: Duration = Duration::from_secs(5);
/// How long after its last connection a user is offline, at most.
const AWAY: Duration = Duration::from_secs(20);

pub(super) async fn present(client: &mut Client) -> Value {
    call(client, "listPresent", json!({})).await
}

pub(super) async fn watch(client: &mut Client, users: &[&str]) -> Vec<Value> {
    let answer = client
        .call("watchUsers", &json!({ "userIds": users }))
        .await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer["users"].as_array().unwrap().clone()
}

pub(super) fn online(user: &str) -> Value {
    json!({"userId": user, "online": true, "lastSeenAt": null})
}

pub(super) fn offline(user: &str) -> Value {
    json!({"userId": user, "online": false, "lastSeenAt": null})
}

pub(super) async fn told(client: &mut Client, within: Duration) -> Value {
    let told = timeout(within, client.event("userPresence")).await;
    told.expect("an update arrives in time")
}

/// Connects a user whose token hides it.
async fn connect_hidden(gateway: &Gateway, user: &str) -> Client {
    let claims = json!({"sub": user, "name": "x", "exp": now() + 3600, "invisible": true});
    Client::connect(gateway.address, &sign(&claims)).await
}

/// Returns the milliseconds since 1970 of a time on the wire.
fn millis(time: &Value) -> i64 {
    let time = time.as_str().expect("a time");
    let parsed: chat_domain::Timestamp = time.parse().unwrap();
    assert_eq!(parsed.to_string(), time, "the format of createdAt");
    parsed.unix_millis()
}

fn now_millis() -> i64 {
    i64::try_from(
        std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_millis(),
    )
    .unwrap()
}

async fn a_room_lists_the_visible_users_in_it(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let refused = present(&mut ada).await;
    assert_eq!(refused["error"]["code"], "not_in_room", "{refused}");
    let mut device = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    let mut hidden = connect_hidden(&gateway, "eve").await;
    let _outside = gateway.connect("dan").await;
    for client in [&mut ada, &mut device, &mut bob, &mut hidden] {
        client.join(ROOM).await;
    }
    let both = json!([{"id": "ada", "name": "x"}, {"id": "bob", "name": "x"}]);
    let all = json!({"ok": true, "users": both, "count": 2, "complete": true});
    assert_eq!(present(&mut ada).await, all);
    assert_eq!(present(&mut hidden).await, all);
    call(&mut device, "leaveRoom", json!({})).await;
    assert_eq!(present(&mut ada).await["count"], 2);
    call(&mut bob, "leaveRoom", json!({})).await;
    let one =
        json!({"ok": true, "users": [{"id": "ada", "name": "x"}], "count": 1, "complete": true});
    assert_eq!(present(&mut ada).await, one);
    let mut crowd = Vec::new();
    for n in 0..205 {
        let mut client = gateway.connect(&format!("{n:03}")).await;
        client.join(ROOM).await;
        crowd.push(client);
    }
    let many = present(&mut ada).await;
    assert_eq!(many["count"], 206, "{many}");
    assert_eq!(many["users"].as_array().unwrap().len(), 200);
}

async fn a_watcher_sees_its_acquaintances_come_and_go(database: &Database) {
    let gateway = Gateway::start(database);
    create(
        database,
        "private",
        &[("ada", "owner"), ("bob", "member"), ("eve", "member")],
    );
    let mut ada = gateway.connect("ada").await;
    let watched = watch(&mut ada, &["bob", "ada", "eve"]).await;
    assert_eq!(watched, [offline("bob"), online("ada"), offline("eve")]);
    let bob = gateway.connect("bob").await;
    assert_eq!(told(&mut ada, SOON).await, online("bob"));
    let hidden = connect_hidden(&gateway, "eve").await;
    // To come back in time is not reported, nor is that one of two devices leaves.
    drop(bob);
    sleep(Duration::from_secs(5)).await;
    let bob = gateway.connect("bob").await;
    let device = gateway.connect("bob").await;
    drop(bob);
    sleep(Duration::from_secs(1)).await;
    let (left, left_at) = (Instant::now(), now_millis());
    drop(device);
    drop(hidden);
    let gone = told(&mut ada, AWAY).await;
    assert!(
        left.elapsed() >= Duration::from_secs(10),
        "{:?}",
        left.elapsed()
    );
    assert_eq!(
        (&gone["userId"], &gone["online"]),
        (&json!("bob"), &json!(false))
    );
    let seen = millis(&gone["lastSeenAt"]);
    assert!((left_at - 100..left_at + 3000).contains(&seen), "{gone}");
    // It is known to those that begin to watch before it is stored.
    watch(&mut ada, &[]).await;
    assert_eq!(watch(&mut ada, &["bob"]).await, std::slice::from_ref(&gone));
    // It is stored with the user, in a moment; nothing is of the one that was hidden.
    let stored = "SELECT count(*) FROM users WHERE id = 'bob' AND last_seen_at IS NOT NULL";
    let deadline = Instant::now() + SOON;
    while database.sql(stored) != "1" {
        assert!(Instant::now() < deadline, "it is stored");
        sleep(Duration::from_millis(50)).await;
    }
    let watched = watch(&mut ada, &["bob", "eve"]).await;
    assert_eq!(watched, [gone, offline("eve")]);
    assert_eq!(ada.take_events(), []);
}

async fn a_watcher_sees_only_users_with_whom_it_shares_a_room(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, "open", &[("ada", "owner"), ("bob", "member")]);
    let (mut bob, _eve) = (gateway.connect("bob").await, gateway.connect("eve").await);
    let mut ada = gateway.connect("ada").await;
    let watched = watch(&mut ada, &["eve", "bob", "nobody"]).await;
    assert_eq!(watched, [offline("eve"), online("bob"), offline("nobody")]);
    // Their membership begins and ends.
    let added = json!({"userId": "eve", "role": "member"});
    assert_eq!(call(&mut ada, "setMember", added).await["ok"], true);
    assert_eq!(told(&mut ada, SOON).await, online("eve"));
    let removed = json!({"userId": "bob"});
    assert_eq!(
        call(&mut ada, "removeMember", removed.clone()).await["ok"],
        true
    );
    assert_eq!(told(&mut ada, SOON).await, offline("bob"));
    assert_eq!(watch(&mut bob, &["ada"]).await, [offline("ada")]);
    let own = call(
        &mut bob,
        "setMember",
        json!({"userId": "bob", "role": "member"}),
    )
    .await;
    assert_eq!(own["ok"], true, "{own}");
    assert_eq!(told(&mut bob, SOON).await, online("ada"));
    assert_eq!(told(&mut ada, SOON).await, online("bob"));
    // A token that does not allow the room shows nothing of it.
    let claims = json!({"sub": "ada", "name": "x", "exp": now() + 3600, "rooms": [ROOM + 1]});
    let mut elsewhere = Client::connect(gateway.address, &sign(&claims)).await;
    assert_eq!(watch(&mut elsewhere, &["bob"]).await, [offline("bob")]);
    // A renewed token hides its user at once.
    let claims = json!({"sub": "bob", "name": "x", "exp": now() + 3600, "invisible": true});
    let renewed = bob
        .call("renewToken", &json!({"token": sign(&claims)}))
        .await;
    assert_eq!(renewed["ok"], true, "{renewed}");
    assert_eq!(told(&mut ada, SOON).await, offline("bob"));
}

async fn what_cannot_be_watched_is_refused(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let many: Vec<_> = (0..201).map(|n| n.to_string()).collect();
    for payload in [
        json!({}),
        json!({"userIds": null}),
        json!({"userIds": "bob"}),
        json!({"userIds": [""]}),
        json!({"userIds": [true]}),
        json!({"userIds": ["x".repeat(256)]}),
        json!({ "userIds": many }),
    ] {
        let refused = ada.call("watchUsers", &payload).await;
        assert_eq!(refused["error"]["code"], "invalid_payload", "{payload}");
    }
    let answer = ada
        .call("watchUsers", &json!({"userIds": many[..200]}))
        .await;
    assert_eq!(answer["users"].as_array().unwrap().len(), 200);
    // An id is a string or an integer, as in a token, and counts once.
    let answer = ada.call("watchUsers", &json!({"userIds": [7, "7"]})).await;
    assert_eq!(answer, json!({"ok": true, "users": [offline("7")]}));
    let refused = ada.call("listPresent", &json!({})).await;
    assert_eq!(refused["error"]["code"], "invalid_payload");
    assert_eq!(watch(&mut ada, &[]).await, [] as [Value; 0]);
}

async fn a_stop_stores_when_users_were_last_seen(database: &Database) {
    let mut gateway = Gateway::start(database);
    let (ada, bob) = (gateway.connect("ada").await, gateway.connect("bob").await);
    let _hidden = connect_hidden(&gateway, "eve").await;
    drop(bob);
    gateway.signal("TERM");
    gateway.wait();
    drop(ada);
    let stored = "SELECT id FROM users WHERE last_seen_at IS NOT NULL ORDER BY id";
    assert_eq!(database.sql(stored), "ada\nbob");
}
