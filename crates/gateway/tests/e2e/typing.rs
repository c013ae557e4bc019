//! `setTyping`: which clients are told that a user is typing, and for how long.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::nodes::group::Group;
use crate::rules::{ROOM, call, create};
use crate::support::client::Client;
use crate::support::{DEADLINE, Database, Gateway, now, sign};

crate::on_each_database!(
    the_others_in_the_room_are_told_and_nobody_else,
    users_that_may_not_write_may_not_type,
    a_user_that_leaves_or_is_banned_or_disconnects_stops_typing,
);

async fn set(client: &mut Client, typing: bool) -> Value {
    call(client, "setTyping", json!({ "typing": typing })).await
}

fn told(user: &str, typing: bool) -> Value {
    json!({"roomId": ROOM, "userId": user, "user": {"id": user, "name": "x"}, "typing": typing})
}

/// Everything that was said before has arrived when a message arrives.
async fn events_before_a_message(sender: &mut Client, client: &mut Client) -> Vec<Value> {
    sender.send(ROOM, "x").await;
    let mut events = Vec::new();
    loop {
        match client.any_event().await {
            (name, _) if name == "newMessage" => return events,
            (name, payload) if name == "typing" => events.push(payload),
            _ => {}
        }
    }
}

async fn the_others_in_the_room_are_told_and_nobody_else(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let mut device = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    let mut outside = gateway.connect("eve").await;
    let claims = json!({"sub": "hidden", "name": "x", "exp": now() + 3600, "invisible": true});
    let mut hidden = Client::connect(gateway.address, &sign(&claims)).await;
    let refused = set(&mut ada, true).await;
    assert_eq!(refused["error"]["code"], "not_in_room", "{refused}");
    for client in [&mut ada, &mut device, &mut bob, &mut hidden] {
        client.join(ROOM).await;
    }
    outside.join(ROOM + 1).await;
    let answer = set(&mut hidden, true).await;
    assert_eq!(answer["ok"], true, "{answer}");
    let answer = set(&mut ada, true).await;
    assert_eq!(answer, json!({"ok": true, "roomId": ROOM, "typing": true}));
    let began = Instant::now();
    assert_eq!(bob.event("typing").await, told("ada", true));
    // It is repeated, at most once per second.
    for _ in 0..5 {
        set(&mut ada, true).await;
    }
    assert_eq!(bob.event("typing").await, told("ada", true));
    assert!(began.elapsed() > Duration::from_millis(900), "{began:?}");
    let stops = Instant::now();
    assert_eq!(bob.event("typing").await, told("ada", false));
    let lasted = stops.elapsed();
    assert!(lasted > Duration::from_secs(4), "{lasted:?}");
    assert!(lasted < Duration::from_secs(8), "{lasted:?}");
    // Neither the user's other device nor another room is told; the invisible user is.
    assert_eq!(
        events_before_a_message(&mut bob, &mut device).await,
        [] as [Value; 0]
    );
    let seen = events_before_a_message(&mut bob, &mut hidden).await;
    assert_eq!(seen.last(), Some(&told("ada", false)));
    outside.send(ROOM + 1, "x").await;
    outside.event("newMessage").await;
    assert_eq!(outside.take_events(), []);
}

async fn users_that_may_not_write_may_not_type(database: &Database) {
    let gateway = Gateway::start(database);
    create(
        database,
        "open",
        &[("ada", "owner"), ("bob", "reader"), ("eve", "member")],
    );
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    let mut eve = gateway.connect("eve").await;
    for client in [&mut ada, &mut bob, &mut eve] {
        client.join(ROOM).await;
    }
    let refused = set(&mut bob, true).await;
    assert_eq!(refused["error"]["reason"], "role", "{refused}");
    assert_eq!(set(&mut eve, true).await["ok"], true);
    assert_eq!(ada.event("typing").await, told("eve", true));
    let muted = call(&mut ada, "muteMember", json!({"userId": "eve"})).await;
    assert_eq!(muted["ok"], true, "{muted}");
    let refused = set(&mut eve, true).await;
    assert_eq!(refused["error"]["code"], "forbidden", "{refused}");
    assert_eq!(refused["error"]["reason"], "muted", "{refused}");
    assert_eq!(set(&mut eve, false).await["ok"], true);
    assert_eq!(ada.event("typing").await, told("eve", false));
    call(&mut ada, "unmuteMember", json!({"userId": "eve"})).await;
    assert_eq!(set(&mut eve, true).await["ok"], true);
    assert_eq!(ada.event("typing").await, told("eve", true));
    for payload in [
        json!({"roomId": ROOM}),
        json!({"roomId": ROOM, "typing": 1}),
        json!({"roomId": 0, "typing": true}),
    ] {
        let refused = eve.call("setTyping", &payload).await;
        assert_eq!(refused["error"]["code"], "invalid_payload", "{payload}");
    }
}

async fn a_user_that_leaves_or_is_banned_or_disconnects_stops_typing(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, "open", &[("ada", "owner")]);
    let mut ada = gateway.connect("ada").await;
    ada.join(ROOM).await;
    for (user, end) in [
        ("bob", "leaveRoom"),
        ("eve", "banMember"),
        ("dan", "disconnect"),
    ] {
        let mut client = gateway.connect(user).await;
        client.join(ROOM).await;
        assert_eq!(set(&mut client, true).await["ok"], true);
        assert_eq!(ada.event("typing").await, told(user, true));
        let since = Instant::now();
        match end {
            "leaveRoom" => drop(call(&mut client, end, json!({})).await),
            "banMember" => drop(call(&mut ada, end, json!({ "userId": user })).await),
            _ => drop(client),
        }
        assert_eq!(ada.event("typing").await, told(user, false));
        assert!(since.elapsed() < Duration::from_secs(4), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_crosses_nodes_and_a_ban_ends_it_there() {
    let group = Group::start(2).await;
    create(&group.database, "open", &[("ada", "owner")]);
    let mut ada = group.nodes[0].connect("ada").await;
    let mut bob = group.nodes[1].connect("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    // The first may be too early for the other node's subscription.
    let mut seen = None;
    for _ in 0..10 {
        assert_eq!(set(&mut bob, true).await["ok"], true);
        if let Ok(typing) = timeout(Duration::from_secs(2), ada.event("typing")).await {
            seen = Some(typing);
            break;
        }
    }
    assert_eq!(seen, Some(told("bob", true)));
    // The node that bans is not the one to which the user is connected.
    let banned = call(&mut ada, "banMember", json!({"userId": "bob"})).await;
    assert_eq!(banned["ok"], true, "{banned}");
    let ended = timeout(DEADLINE, bob.event("leftRoom")).await.unwrap();
    assert_eq!(ended["reason"], "banned", "{ended}");
    assert_eq!(ada.event("typing").await, told("bob", false));
}
