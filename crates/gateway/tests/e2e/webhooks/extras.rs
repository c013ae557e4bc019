//! What webhooks carry of replies, mentions, metadata, reactions and erasures.

use serde_json::{Value, json};

use super::start;
use crate::api::Api;
use crate::support::Database;
use crate::support::receiver::{Behaviour, Receiver};

crate::on_each_database!(
    messages_have_their_extras_and_changes_their_kinds,
    an_erased_message_is_in_no_backlog,
);

async fn messages_have_their_extras_and_changes_their_kinds(database: &Database) {
    let receiver = Receiver::start().await;
    let gateway = start(database, &receiver, &[]);
    let api = Api(gateway.address);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    ada.send(1, "hello").await;
    let reply = json!({
        "roomId": 1, "content": "hi", "replyTo": 1, "mentions": ["grace"], "metadata": {"a": 1},
    });
    let reply = ada.call("sendMessage", &reply).await["message"].clone();
    receiver.until_taken(2).await;
    let reaction = json!({"roomId": 1, "seq": 2, "key": "+1", "on": true});
    let reacted = ada.call("setReaction", &reaction).await;
    assert_eq!(reacted["ok"], true, "{reacted}");
    receiver.until_taken(3).await;
    let delete = json!({"roomId": 1, "seq": 2});
    let deleted = ada.call("deleteMessage", &delete).await["message"].clone();
    receiver.until_taken(4).await;
    api.delete("/rooms/1/messages/2?erase=true").await;
    receiver.until_taken(5).await;

    let taken = receiver.taken();
    let data = |at: usize| taken[at].body["data"].clone();
    assert_eq!(data(1), json!({ "message": reply }));
    assert_eq!(data(1)["message"]["mentions"], json!(["grace"]));
    assert_eq!(
        (&data(2)["change"], &data(2)["by"]),
        (&json!("reactions"), &json!("ada"))
    );
    assert_eq!(data(2)["message"]["metadata"], json!({"a": 1}));
    assert_eq!(data(2)["message"]["reactions"][0]["key"], "+1");
    assert_eq!(
        data(3),
        json!({ "change": "deleted", "message": deleted, "by": "ada" })
    );
    assert_eq!(data(3)["message"]["replyTo"], 1);
    assert_eq!(
        (&data(4)["change"], &data(4)["by"]),
        (&json!("erased"), &Value::Null)
    );
    assert_eq!(data(4)["message"]["userId"], "deleted");
    let ids: std::collections::HashSet<&str> = taken.iter().map(|call| &*call.id).collect();
    assert_eq!(ids.len(), 5);
}

async fn an_erased_message_is_in_no_backlog(database: &Database) {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Behaviour::Status(410));
    let gateway = start(database, &receiver, &[]);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    let message = json!({
        "roomId": 1, "content": "a secret", "mentions": ["secret"], "metadata": {"k": "secret"},
        "clientMessageId": "secret",
    });
    ada.call("sendMessage", &message).await;
    gateway.wait_for_log(|log| log.contains("WEBHOOKS ARE PAUSED").then_some(()));
    Api(gateway.address)
        .delete("/rooms/1/messages/1?erase=true")
        .await;
    receiver.behave(|_| Behaviour::Status(200));
    super::webhooks(database, "retry");
    receiver.until_taken(2).await;
    for call in receiver.taken() {
        assert!(!call.body.to_string().contains("secret"), "{call:?}");
        assert_eq!(call.body["data"]["message"]["userId"], "deleted");
    }
}
