//! What a message carries besides its text: `replyTo`, `mentions` and `metadata`.

use serde_json::{Value, json};

use crate::api::{Api, start};
use crate::inbox::{create, operate};
use crate::support::client::{Client, Polling};
use crate::support::{Database, Gateway, token};

crate::on_each_database!(
    a_message_arrives_everywhere_with_all_that_it_carries,
    unread_mentions_are_counted_in_the_inbox,
    a_repeat_with_other_extras_is_a_conflict,
    a_reply_needs_an_earlier_message,
    a_reply_finds_the_messages_that_its_connection_sent_before_it,
    a_reply_does_not_overtake_messages_that_are_decided_again,
    a_deleted_message_keeps_only_to_which_it_replies,
);

/// Adds all fields to a `sendMessage`, or a request of the server API.
fn with_all(mut message: Value) -> Value {
    message["replyTo"] = json!(1);
    message["mentions"] = json!(["bob", 7, "bob", "it's"]);
    message["metadata"] = json!({"files": [{"id": "f-1", "size": 1.5}], "a": null});
    message
}

fn assert_has_all(message: &Value) {
    assert_eq!(message["replyTo"], 1, "{message}");
    assert_eq!(
        message["mentions"],
        json!(["bob", "7", "it's"]),
        "{message}"
    );
    let metadata = json!({"a": null, "files": [{"id": "f-1", "size": 1.5}]});
    assert_eq!(message["metadata"], metadata, "{message}");
}

fn assert_has_none(message: &Value) {
    for field in ["replyTo", "mentions", "metadata"] {
        assert!(message.get(field).is_none(), "{message}");
    }
}

async fn mentions(client: &mut Client, room: u64) -> Value {
    let page = client.call("listRooms", &json!({})).await;
    let rooms = page["rooms"].as_array().unwrap().iter();
    let mut of_room = rooms.filter(|summary| summary["roomId"] == room);
    of_room.next().unwrap()["mentions"].clone()
}

/// Returns the next `newMessage` of a polling session.
async fn polled(polling: &Polling) -> Value {
    loop {
        let events = polling.events().await;
        let mut events = events.into_iter();
        if let Some((_, message)) = events.find(|(name, _)| name == "newMessage") {
            return message;
        }
    }
}

async fn a_message_arrives_everywhere_with_all_that_it_carries(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    create(database, 1, "private", &["ada", "bob"]);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    let bob = Polling::connect(gateway.address, &token("bob", "x")).await;
    assert_eq!(bob.post(r#"42["joinRoom",{"roomId":1}]"#).await.0, 200);
    while !bob
        .events()
        .await
        .iter()
        .any(|(name, _)| name == "joinedRoom")
    {}

    let first = ada.send(1, "first").await["message"].clone();
    assert_has_none(&first);
    assert_eq!(polled(&bob).await, first);
    ada.event("newMessage").await;
    // Over a WebSocket, by polling, and by the server API.
    let sent = with_all(json!({"roomId": 1, "content": "full"}));
    let mut stored = vec![ada.call("sendMessage", &sent).await["message"].clone()];
    assert_eq!(polled(&bob).await, stored[0]);
    assert_eq!(
        bob.post(&format!(r#"42["sendMessage",{sent}]"#)).await.0,
        200
    );
    stored.push(polled(&bob).await);
    let posted = with_all(json!({"userId": "ada", "content": "full"}));
    stored.push(api.post("/rooms/1/messages", &posted).await.body(201));
    for message in &stored {
        assert_has_all(message);
        assert_eq!(&ada.event("newMessage").await, message);
    }
    assert_eq!(polled(&bob).await, stored[2]);

    let mut other = gateway.connect("bob").await;
    let join = json!({"roomId": 1, "afterSeq": 0});
    assert_eq!(other.call("joinRoom", &join).await["seq"], 4);
    assert_eq!(other.event("newMessage").await, first);
    for message in &stored {
        assert_eq!(&other.event("newMessage").await, message);
    }
    let expected = json!([first, stored[0], stored[1], stored[2]]);
    for page in [json!({"roomId": 1}), json!({"roomId": 1, "afterSeq": 0})] {
        let page = other.call("listMessages", &page).await;
        assert_eq!(page["messages"], expected);
    }
    let page = other.call("listRooms", &json!({})).await;
    assert_eq!(page["rooms"][0]["lastMessage"], stored[2]);
    let page = api.get("/rooms/1/messages").await.body(200);
    assert_eq!(page["messages"], expected);
    let page = api.get("/users/bob/rooms").await.body(200);
    assert_eq!(page["rooms"][0]["lastMessage"], stored[2]);
    assert_eq!(page["rooms"][0]["mentions"], 1);
    // In changes.
    let edit = json!({"roomId": 1, "seq": 2, "content": "new"});
    let edited = ada.call("editMessage", &edit).await["message"].clone();
    assert_has_all(&edited);
    let changed = other.event("messageChanged").await;
    assert_eq!(changed["message"], edited);
}

async fn unread_mentions_are_counted_in_the_inbox(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, 1, "private", &["ada", "bob"]);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    ada.join(1).await;
    bob.join(1).await;
    bob.call("watchRooms", &json!({})).await;
    assert_eq!(mentions(&mut bob, 1).await, 0);
    for users in [
        json!(["bob", "ada"]),
        json!(["ada"]),
        json!(["bob"]),
        json!([]),
    ] {
        let sent = json!({"roomId": 1, "content": "x", "mentions": users});
        assert_eq!(ada.call("sendMessage", &sent).await["ok"], true);
    }
    assert_eq!(mentions(&mut bob, 1).await, 2);
    assert_eq!(mentions(&mut ada, 1).await, 0);
    let updated = async |bob: &mut Client, count: u64| loop {
        let summary = bob.event("roomUpdated").await;
        if summary["mentions"] == count && summary["seq"] == 4 {
            break;
        }
    };
    updated(&mut bob, 2).await;
    // What was deleted mentions no user.
    let delete = json!({"roomId": 1, "seq": 3});
    assert_eq!(ada.call("deleteMessage", &delete).await["ok"], true);
    assert_eq!(mentions(&mut bob, 1).await, 1);
    updated(&mut bob, 1).await;
    let read = json!({"roomId": 1, "seq": 1});
    assert_eq!(bob.call("markRead", &read).await["unread"], 3);
    assert_eq!(mentions(&mut bob, 1).await, 0);
    updated(&mut bob, 0).await;
}

async fn a_repeat_with_other_extras_is_a_conflict(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    ada.join(1).await;
    bob.join(1).await;
    ada.send(1, "first").await;
    ada.send(1, "second").await;
    let base = json!({"roomId": 1, "content": "x", "clientMessageId": "c-1", "userId": "ada"});
    let sent = with_all(base.clone());
    let stored = ada.call("sendMessage", &sent).await["message"].clone();
    assert_has_all(&stored);
    // The same in other words.
    let same = r#"{"roomId":1,"content":"x","clientMessageId":"c-1","userId":"ada","replyTo":1.0,
        "mentions":["bob","7","it's","7"],
        "metadata":{ "a" : null, "files" : [ { "size" : 1.5, "\u0069d" : "f-1" } ] } }"#;
    let id = ada.emit_raw(&format!(r#"["sendMessage",{same}]"#)).await;
    assert_eq!(ada.ack(id).await["message"], stored);
    let repeat = api.with_body("POST", "/rooms/1/messages", same).await;
    assert_eq!(repeat.body(200), stored);
    for (field, value) in [
        ("replyTo", json!(2)),
        ("replyTo", Value::Null),
        ("mentions", json!([])),
        ("mentions", json!(["bob", "7"])),
        ("metadata", json!({})),
        ("metadata", Value::Null),
    ] {
        let mut other = sent.clone();
        other[field] = value;
        let refused = ada.call("sendMessage", &other).await;
        assert_eq!(refused["error"]["code"], "conflict", "{other}");
        let refused = api.post("/rooms/1/messages", &other).await;
        assert_eq!(refused.error(), (409, "conflict".to_owned()), "{other}");
    }
    let refused = ada.call("sendMessage", &base).await;
    assert_eq!(refused["error"]["code"], "conflict");
    // None of the repeats was broadcast.
    ada.send(1, "last").await;
    for seq in 1..=4 {
        assert_eq!(bob.event("newMessage").await["seq"], seq);
    }
}

async fn a_reply_needs_an_earlier_message(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    ada.join(2).await;
    ada.send(2, "in another room").await;
    let mut reply = async |seq: u64| {
        let sent = json!({"roomId": 1, "content": "x", "replyTo": seq, "userId": "ada"});
        let by_socket = ada.call("sendMessage", &sent).await;
        let by_api = api.post("/rooms/1/messages", &sent).await;
        (by_socket, by_api)
    };
    // The room has no message.
    for seq in [1, 2] {
        let (by_socket, by_api) = reply(seq).await;
        let error = &by_socket["error"];
        assert_eq!(error["code"], "invalid_payload", "{error}");
        assert!(error["message"].as_str().unwrap().starts_with("replyTo "));
        assert_eq!(by_api.error(), (400, "invalid_payload".to_owned()));
        assert_eq!(by_api.field(), "replyTo");
    }
    let first = json!({"userId": "ada", "content": "x"});
    api.post("/rooms/1/messages", &first).await.body(201);
    let (by_socket, by_api) = reply(1).await;
    assert_eq!(by_socket["message"]["replyTo"], 1);
    assert_eq!(by_api.body(201)["seq"], 3);
    // Itself, and a later one.
    for seq in [4, 5] {
        let (by_socket, by_api) = reply(seq).await;
        assert_eq!(by_socket["error"]["code"], "invalid_payload");
        assert_eq!(by_api.error(), (400, "invalid_payload".to_owned()));
    }
}

async fn a_reply_finds_the_messages_that_its_connection_sent_before_it(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    let lock = database.lock_writes();
    let mut ids = Vec::new();
    for n in 1..=9 {
        let mut sent = json!({"roomId": 1, "content": n.to_string()});
        // Two of three reply to the message right before them.
        if n % 3 != 1 {
            sent["replyTo"] = json!(n - 1);
        }
        ids.push(ada.start("sendMessage", &sent).await);
    }
    // Each of the earlier ones is still on its way.
    lock.release();
    for (n, id) in (1..).zip(ids) {
        let sent = ada.ack(id).await;
        assert_eq!(sent["message"]["seq"], n, "{sent}");
        assert_eq!(sent["message"]["content"], n.to_string());
    }
}

async fn a_reply_does_not_overtake_messages_that_are_decided_again(database: &Database) {
    let gateway = Gateway::start(database);
    create(database, 1, "private", &["ada"]);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    for round in 0..4 {
        // Another process changes the rules: this node learns of it from the first message.
        let user = format!("user-{round}");
        let add = ["member", "add", "--user", &user, "--role", "member"];
        operate(database, 1, &add);
        let mut ids = Vec::new();
        for n in 1..=5 {
            let seq = round * 5 + n;
            let mut sent = json!({"roomId": 1, "content": seq.to_string()});
            if n % 2 == 0 {
                sent["replyTo"] = json!(seq - 1);
            }
            ids.push((seq, ada.start("sendMessage", &sent).await));
        }
        for (seq, id) in ids {
            let sent = ada.ack(id).await;
            assert_eq!(sent["message"]["seq"], seq, "{sent}");
            assert_eq!(sent["message"]["content"], seq.to_string());
        }
    }
}

async fn a_deleted_message_keeps_only_to_which_it_replies(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    ada.send(1, "first").await;
    let sent = with_all(json!({"roomId": 1, "content": "x"}));
    assert_eq!(ada.call("sendMessage", &sent).await["ok"], true);
    let delete = json!({"roomId": 1, "seq": 2});
    let mut deleted = ada.call("deleteMessage", &delete).await["message"].clone();
    assert_eq!(deleted["replyTo"], 1);
    deleted.as_object_mut().unwrap().remove("replyTo");
    assert_has_none(&deleted);
    let erased = api.delete("/rooms/1/messages/2?erase=true").await;
    assert_eq!(erased.status, 204);
    let page = api.get("/rooms/1/messages?afterSeq=1").await.body(200);
    assert_eq!(page["messages"][0]["userId"], "deleted");
    assert_has_none(&page["messages"][0]);
}
