//! Changes to messages: what is acknowledged, and what is refused.

mod crowd;
mod exact;
mod inbox;
mod limits;
mod live;
mod measured;
mod payloads;
mod permissions;
mod returning;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway};

crate::on_each_database!(
    an_author_edits_and_deletes_and_others_react,
    what_may_not_be_changed_is_refused,
);

async fn code(client: &mut Client, event: &str, payload: Value) -> Value {
    client.call(event, &payload).await["error"]["code"].clone()
}

async fn an_author_edits_and_deletes_and_others_react(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    ada.join(7).await;
    bob.join(7).await;
    ada.send(7, "hello").await;
    ada.send(7, "two").await;
    let edit = json!({"roomId": 7, "seq": 1, "content": "bye"});
    let edited = ada.call("editMessage", &edit).await["message"].clone();
    assert_eq!(
        (&edited["content"], &edited["rev"]),
        (&json!("bye"), &json!(1))
    );
    assert!(edited["editedAt"].is_string());
    let react = json!({"roomId": 7, "seq": 1, "key": "👍", "on": true});
    for (client, count) in [(&mut ada, 1), (&mut bob, 2)] {
        let message = client.call("setReaction", &react).await["message"].clone();
        assert_eq!(message["reactions"], json!([{"key": "👍", "count": count}]));
    }
    // What is already so changes nothing.
    let again = bob.call("setReaction", &react).await;
    assert_eq!(again["message"]["rev"], 3);
    let mine = json!([{"key": "👍", "count": 2, "mine": true}]);
    for event in ["listMessages", "listChanges"] {
        let page = json!({"roomId": 7, "afterRev": 0});
        let page = bob.call(event, &page).await;
        assert_eq!(page["messages"][0]["reactions"], mine, "{event}");
    }
    let users = json!({"roomId": 7, "seq": 1, "key": "👍", "limit": 1});
    let users = bob.call("listReactions", &users).await;
    assert_eq!(
        (&users["users"][0]["id"], &users["hasMore"]),
        (&json!("ada"), &json!(true))
    );
    let delete = json!({"roomId": 7, "seq": 1});
    for _ in 0..2 {
        let deleted = ada.call("deleteMessage", &delete).await["message"].clone();
        assert_eq!(
            (&deleted["content"], &deleted["rev"]),
            (&json!(""), &json!(4))
        );
        assert_eq!(deleted["reactions"], json!([]));
        assert_eq!(deleted["userId"], "ada");
    }
    assert_eq!(code(&mut ada, "editMessage", edit).await, "conflict");
    assert_eq!(code(&mut ada, "setReaction", react).await, "conflict");
}

async fn what_may_not_be_changed_is_refused(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    ada.join(7).await;
    ada.send(7, "hello").await;
    let message = json!({"roomId": 7, "seq": 1, "content": "x", "key": "a", "on": true});
    for event in [
        "editMessage",
        "deleteMessage",
        "setReaction",
        "listReactions",
    ] {
        assert_eq!(
            code(&mut bob, event, message.clone()).await,
            "not_in_room",
            "{event}"
        );
    }
    bob.join(7).await;
    let refused = bob.call("editMessage", &message).await;
    assert_eq!(refused["error"]["reason"], "author");
    let refused = bob.call("deleteMessage", &message).await;
    assert_eq!(refused["error"]["reason"], "role");
    for event in [
        "editMessage",
        "deleteMessage",
        "setReaction",
        "listReactions",
    ] {
        let unknown = json!({"roomId": 7, "seq": 9, "content": "x", "key": "a", "on": true});
        assert_eq!(code(&mut ada, event, unknown).await, "not_found", "{event}");
    }
}
