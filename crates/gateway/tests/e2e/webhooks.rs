//! Webhooks, as the product's backend receives them.

mod database;
mod extras;
mod faults;
mod nodes;
mod tls;
mod unread;

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{Api, KEYS};
use crate::support::receiver::{Behaviour, Receiver, WEBHOOK_SECRET};
use crate::support::{Database, Gateway, command};

crate::on_each_database!(
    what_happens_is_reported_in_order_with_the_objects_of_the_wire,
    only_the_configured_types_are_reported,
    nothing_is_recorded_without_a_receiver,
    a_deleted_message_is_in_no_backlog,
);

/// Starts a gateway that reports to this receiver, and has the API.
pub(super) fn start(database: &Database, receiver: &Receiver, more: &[(&str, &str)]) -> Gateway {
    let url = receiver.url();
    let settings = [
        ("WEBHOOK_URL", url.as_str()),
        ("WEBHOOK_SECRET", WEBHOOK_SECRET),
        KEYS,
    ];
    Gateway::start_with(database, &[&settings, more].concat())
}

/// Runs `chat-gateway webhooks` and returns what it prints.
pub(super) fn webhooks(database: &Database, action: &str) -> String {
    let mut command = command("webhooks");
    command.arg(action).env("DATABASE_URL", database.url());
    let done = chat_test_support::run(&mut command, Duration::from_secs(20)).unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{error}");
    String::from_utf8(done.stdout).unwrap()
}

async fn what_happens_is_reported_in_order_with_the_objects_of_the_wire(database: &Database) {
    let receiver = Receiver::start().await;
    let gateway = start(database, &receiver, &[]);
    let api = Api(gateway.address);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    let first = ada.send(1, "hello").await["message"].clone();
    ada.send(1, "two").await;
    let edit = json!({"roomId": 1, "seq": 2, "content": "three"});
    let edited = ada.call("editMessage", &edit).await["message"].clone();
    let member = json!({"roomId": 1, "userId": "ada", "role": "member"});
    ada.call("setMember", &member).await;
    let room = api.put("/rooms/1", &json!({"name": "Lobby"})).await;
    let room = room.body(200);
    api.delete("/rooms/1/members/ada").await;
    receiver.until_taken(6).await;
    api.delete("/rooms/1").await;
    receiver.until_taken(7).await;

    let taken = receiver.taken();
    let kinds: Vec<&str> = taken.iter().map(|call| call.kind()).collect();
    assert_eq!(
        kinds,
        [
            "message.created",
            "message.created",
            "message.changed",
            "member.changed",
            "room.changed",
            "member.changed",
            "room.deleted",
        ]
    );
    let data = |at: usize| taken[at].body["data"].clone();
    assert_eq!(data(0), json!({ "message": first }));
    assert_eq!(taken[0].body["timestamp"], first["createdAt"]);
    assert_eq!(
        data(2),
        json!({ "change": "edited", "message": edited, "by": "ada" })
    );
    assert_eq!(data(3)["member"]["userId"], "ada");
    assert_eq!(data(3)["by"], "ada");
    assert_eq!(data(4)["room"]["name"], room["name"]);
    let removed = data(5);
    assert_eq!(
        (&removed["member"]["role"], &removed["by"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(data(6), json!({ "roomId": 1 }));
    // One connection is enough for one room.
    assert_eq!(receiver.connections(), 1);
    for call in &taken {
        assert_eq!(call.path, "/hook");
        assert!(call.signature.starts_with("v1,"), "{}", call.signature);
        assert_eq!(call.attempt, 1, "{call:?}");
    }
}

async fn only_the_configured_types_are_reported(database: &Database) {
    let receiver = Receiver::start().await;
    let settings = [("WEBHOOK_EVENTS", "message.changed, room.changed")];
    let gateway = start(database, &receiver, &settings);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    ada.send(1, "hello").await;
    let edit = json!({"roomId": 1, "seq": 1, "content": "hi"});
    ada.call("editMessage", &edit).await;
    Api(gateway.address)
        .put("/rooms/1", &json!({"name": "Lobby"}))
        .await;
    receiver.until_taken(2).await;
    let kinds: Vec<String> = receiver
        .calls()
        .iter()
        .map(|call| call.kind().to_owned())
        .collect();
    assert_eq!(kinds, ["message.changed", "room.changed"]);
}

async fn nothing_is_recorded_without_a_receiver(database: &Database) {
    let gateway = Gateway::start_with(database, &[KEYS]);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    ada.send(1, "hello").await;
    let edit = json!({"roomId": 1, "seq": 1, "content": "hi"});
    ada.call("editMessage", &edit).await;
    Api(gateway.address)
        .put("/rooms/1", &json!({"name": "Lobby"}))
        .await;
    assert_eq!(
        database.sql("SELECT count(*) FROM outbox_events").trim(),
        "0"
    );
    if let Database::Postgres(_) = database {
        assert_eq!(database.sql("SELECT count(*) FROM outbox_log").trim(), "0");
    }
}

/// What waits refers to messages and does not contain them.
async fn a_deleted_message_is_in_no_backlog(database: &Database) {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::Status(500));
    let gateway = start(database, &receiver, &[]);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    ada.send(1, "a secret of Ada's").await;
    let once = |receiver: &Receiver| !receiver.calls().is_empty();
    receiver.until(Duration::from_secs(20), once).await;
    let delete = json!({"roomId": 1, "seq": 1});
    ada.call("deleteMessage", &delete).await;
    for table in ["outbox_events", "outbox_rooms", "outbox_state"] {
        let rows = database.sql(&format!("SELECT * FROM {table}"));
        assert!(!rows.contains("secret"), "{rows}");
    }
    receiver.behave(|_| Behaviour::Status(200));
    receiver.until_taken(2).await;
    let taken = receiver.taken();
    assert_eq!(taken[0].kind(), "message.created");
    for call in &taken {
        let message = &call.body["data"]["message"];
        assert_eq!(message["content"], "");
        assert!(message["deletedAt"].is_string());
    }
}
