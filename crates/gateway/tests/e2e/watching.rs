//! Watching the inbox: what a connection is told about rooms that it has not joined.

mod measured;
mod nodes;
mod paced;

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout};

use crate::inbox::{create, operate};
use crate::support::client::Client;
use crate::support::{DEADLINE, Database, Gateway, metric, now, sign};

crate::on_each_database!(
    a_watching_connection_has_the_newest_summary_of_every_room,
    memberships_that_begin_and_end_are_told_with_the_reason,
    a_room_outside_of_the_tokens_claim_is_never_told,
    what_changes_between_the_list_and_the_watch_is_told,
    watching_twice_is_harmless_and_ends_with_the_connection,
);

/// How long it may take until a change is told, on a machine that does other things, too.
pub(crate) const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Begins to watch. Returns the number of unread messages.
pub(crate) async fn watch(client: &mut Client) -> u64 {
    let answer = client.call("watchRooms", &json!({})).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer["unreadTotal"].as_u64().unwrap()
}

/// Waits for an event about a room that is as expected. Nothing but what watching tells may
/// arrive.
pub(crate) async fn told(
    client: &mut Client,
    name: &str,
    room: u64,
    is_expected: impl Fn(&Value) -> bool,
) -> Value {
    let began = Instant::now();
    let mut last = Value::Null;
    while let Ok((event, payload)) = timeout(TOLD_WITHIN, client.any_event()).await {
        let payload = match event.as_str() {
            "roomUpdated" | "roomRemoved" => payload,
            "roomAdded" => payload["summary"].clone(),
            _ => panic!("{event}: {payload}"),
        };
        if event == name && payload["roomId"] == room && is_expected(&payload) {
            return payload;
        }
        last = json!([event, payload]);
        assert!(began.elapsed() < DEADLINE, "{last}");
    }
    panic!("{name} of room {room} does not arrive; the last event is {last}");
}

/// Waits for a summary in which a field has this value.
pub(crate) async fn updated(client: &mut Client, room: u64, field: &str, value: Value) -> Value {
    let is_expected = |summary: &Value| summary[field] == value;
    told(client, "roomUpdated", room, is_expected).await
}

/// Asserts that nothing is told for longer than a change takes.
async fn nothing_is_told(client: &mut Client) {
    let silence = timeout(Duration::from_secs(2), client.any_event()).await;
    assert!(silence.is_err(), "{silence:?}");
}

pub(crate) async fn call(client: &mut Client, event: &str, payload: Value) {
    let answer = client.call(event, &payload).await;
    assert_eq!(answer["ok"], true, "{event} {payload}: {answer}");
}

async fn a_watching_connection_has_the_newest_summary_of_every_room(database: &Database) {
    let gateway = Gateway::start(database);
    for room in [1, 2] {
        create(database, room, "private", &["ada", "bob"]);
    }
    operate(
        database,
        1,
        &["member", "add", "--user", "root", "--role", "owner"],
    );
    let mut bob = gateway.connect("bob").await;
    bob.join(1).await;
    bob.join(2).await;
    bob.send(2, "before").await;
    let (mut ada, mut phone) = (gateway.connect("ada").await, gateway.connect("ada").await);
    assert_eq!(watch(&mut ada).await, 1);
    let sent = bob.send(1, "hello").await;
    let summary = updated(&mut ada, 1, "seq", json!(1)).await;
    let expected = json!({
        "roomId": 1, "kind": "private", "name": null, "metadata": {}, "role": "member",
        "notify": "all", "seq": 1, "rev": 0, "readSeq": 0, "unread": 1, "mentions": 0,
        "lastMessage": sent["message"]
    });
    assert_eq!(without_name(summary), without_name(expected));
    // Other devices: the first two change nothing but this user's own part.
    phone.join(1).await;
    call(&mut phone, "markRead", json!({"roomId": 1, "seq": 1})).await;
    let summary = updated(&mut ada, 1, "readSeq", json!(1)).await;
    assert_eq!(summary["unread"], 0);
    call(
        &mut phone,
        "setNotify",
        json!({"roomId": 1, "notify": "none"}),
    )
    .await;
    updated(&mut ada, 1, "notify", json!("none")).await;
    // A message of one's own.
    phone.send(1, "from the phone").await;
    let summary = updated(&mut ada, 1, "seq", json!(2)).await;
    assert_eq!(
        (&summary["readSeq"], &summary["unread"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(summary["lastMessage"]["content"], "from the phone");
    // What an owner changes.
    let mut root = gateway.connect("root").await;
    let member = json!({"roomId": 1, "userId": "ada", "role": "moderator"});
    call(&mut root, "setMember", member).await;
    updated(&mut ada, 1, "role", json!("moderator")).await;
    let settings = json!({"roomId": 1, "name": "Tea", "metadata": {"a": 1}});
    call(&mut root, "setRoom", settings).await;
    let summary = updated(&mut ada, 1, "name", json!("Tea")).await;
    assert_eq!(summary["metadata"], json!({"a": 1}));
    // What a watching connection does itself in a room that it has joined.
    ada.join(2).await;
    ada.take_events();
    call(&mut ada, "markRead", json!({"roomId": 2, "seq": 1})).await;
    while ada.event("roomUpdated").await["readSeq"] != 1 {}
}

/// The author's name is that of the token when a message is sent, and the stored one later.
fn without_name(mut summary: Value) -> Value {
    summary["lastMessage"]["user"]["name"] = Value::Null;
    summary
}

async fn memberships_that_begin_and_end_are_told_with_the_reason(database: &Database) {
    let gateway = Gateway::start(database);
    for room in [1, 2] {
        create(database, room, "private", &["ada"]);
    }
    for room in [1, 2, 3] {
        let owner = ["member", "add", "--user", "root", "--role", "owner"];
        operate(database, room, &owner);
    }
    let (mut ada, mut root) = (gateway.connect("ada").await, gateway.connect("root").await);
    watch(&mut ada).await;
    watch(&mut root).await;
    root.join(1).await;
    root.join(2).await;
    let member = json!({"roomId": 3, "userId": "ada", "role": "reader"});
    call(&mut root, "setMember", member).await;
    let added = told(&mut ada, "roomAdded", 3, |_| true).await;
    assert_eq!(added["role"], "reader");
    // From a shell, which knows no node.
    create(database, 4, "open", &["ada"]);
    told(&mut ada, "roomAdded", 4, |_| true).await;
    operate(database, 4, &["member", "remove", "--user", "ada"]);
    let removed = told(&mut ada, "roomRemoved", 4, |_| true).await;
    assert_eq!(removed, json!({"roomId": 4, "reason": "removed"}));
    call(
        &mut root,
        "removeMember",
        json!({"roomId": 1, "userId": "ada"}),
    )
    .await;
    let reason = told(&mut ada, "roomRemoved", 1, |_| true).await["reason"].clone();
    assert_eq!(reason, "removed");
    call(
        &mut root,
        "banMember",
        json!({"roomId": 2, "userId": "ada"}),
    )
    .await;
    let reason = told(&mut ada, "roomRemoved", 2, |_| true).await["reason"].clone();
    assert_eq!(reason, "banned");
    for room in [1, 2] {
        root.send(room, "not for ada").await;
    }
    nothing_is_told(&mut ada).await;
    // Her own act is told like any other.
    call(
        &mut ada,
        "removeMember",
        json!({"roomId": 3, "userId": "ada"}),
    )
    .await;
    told(&mut ada, "roomRemoved", 3, |_| true).await;
    // The member that is left: nothing but the messages has changed in the summaries.
    while root.event("roomUpdated").await["roomId"] != 2 {}
}

async fn a_room_outside_of_the_tokens_claim_is_never_told(database: &Database) {
    let gateway = Gateway::start(database);
    for room in [1, 2] {
        create(database, room, "private", &["ada", "bob"]);
    }
    let of_rooms = |rooms: &[u64]| {
        let claims = json!({"sub": "ada", "exp": now() + 600, "rooms": rooms});
        json!({ "token": sign(&claims) })
    };
    let token = of_rooms(&[1]);
    let mut ada = Client::connect(gateway.address, token["token"].as_str().unwrap()).await;
    let (mut all, mut bob) = (gateway.connect("ada").await, gateway.connect("bob").await);
    watch(&mut all).await;
    for room in [1, 2] {
        bob.join(room).await;
        bob.send(room, "1").await;
        updated(&mut all, room, "seq", json!(1)).await;
    }
    assert_eq!(watch(&mut ada).await, 1);
    bob.send(2, "2").await;
    create(database, 3, "private", &["ada"]);
    told(&mut all, "roomAdded", 3, |_| true).await;
    nothing_is_told(&mut ada).await;
    // Renewed: one room less and one more.
    call(&mut ada, "renewToken", of_rooms(&[2])).await;
    let mut events = Vec::new();
    while events.len() < 2 {
        let event = timeout(TOLD_WITHIN, ada.any_event()).await;
        events.push(event.expect("the renewal is told"));
    }
    events.sort_by_key(|(name, _)| *name == "roomRemoved");
    assert_eq!(
        events[0].1["roomId"]
            .as_u64()
            .or(events[0].1["summary"]["roomId"].as_u64()),
        Some(2)
    );
    assert_eq!(events[1].1, json!({"roomId": 1, "reason": "removed"}));
    for (room, seq) in [(1, 2), (2, 3)] {
        bob.send(room, "x").await;
        updated(&mut all, room, "seq", json!(seq)).await;
    }
    updated(&mut ada, 2, "seq", json!(3)).await;
    nothing_is_told(&mut ada).await;
}

async fn what_changes_between_the_list_and_the_watch_is_told(database: &Database) {
    let gateway = Gateway::start(database);
    for room in [1, 2, 3] {
        create(database, room, "private", &["ada", "bob"]);
    }
    let (mut ada, mut bob) = (gateway.connect("ada").await, gateway.connect("bob").await);
    bob.join(1).await;
    call(&mut ada, "listRooms", json!({})).await;
    bob.send(1, "in between").await;
    operate(database, 2, &["member", "remove", "--user", "ada"]);
    // The change is found on this node before the watch begins.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    watch(&mut ada).await;
    let (mut has_message, mut has_removal) = (false, false);
    while !(has_message && has_removal) {
        let event = timeout(TOLD_WITHIN, ada.any_event()).await;
        let (name, payload) = event.expect("what is new is told");
        has_message |= name == "roomUpdated" && payload["seq"] == 1;
        has_removal |= name == "roomRemoved" && payload["roomId"] == 2;
        assert_ne!(payload["roomId"], 3, "{name}: {payload}");
    }
}

async fn watching_twice_is_harmless_and_ends_with_the_connection(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, 1, "private", &["ada", "bob"]);
    let (mut ada, mut bob) = (gateway.connect("ada").await, gateway.connect("bob").await);
    for payload in [json!([]), json!(7), json!("x"), Value::Null] {
        let answer = ada.call("watchRooms", &payload).await;
        assert_eq!(answer["error"]["code"], "invalid_payload", "{payload}");
    }
    ada.take_events();
    assert_eq!(metric(&gateway, "chat_watching_connections").await, 0);
    for payload in [json!({}), json!({"unknown": 1})] {
        let answer = ada.call("watchRooms", &payload).await;
        assert_eq!(answer, json!({"ok": true, "unreadTotal": 0}));
    }
    assert_eq!(metric(&gateway, "chat_watching_connections").await, 1);
    assert_eq!(metric(&gateway, "chat_watched_rooms").await, 1);
    bob.join(1).await;
    bob.send(1, "once").await;
    updated(&mut ada, 1, "seq", json!(1)).await;
    drop(ada);
    let ended = async { while metric(&gateway, "chat_watching_connections").await != 0 {} };
    timeout(DEADLINE, ended).await.unwrap();
    assert_eq!(metric(&gateway, "chat_watched_rooms").await, 0);
}
