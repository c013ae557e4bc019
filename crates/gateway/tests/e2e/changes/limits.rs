//! How many reactions a message may have, and what changes nothing.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Database, Gateway};

crate::on_each_database!(
    a_message_has_at_most_twenty_distinct_keys,
    what_is_already_so_takes_no_number_and_reaches_no_connection,
    a_repeat_of_a_changed_message_is_answered_with_its_newest_state,
);

async fn react(client: &mut Client, key: &str, on: bool) -> Value {
    let reaction = json!({"roomId": 1, "seq": 1, "key": key, "on": on});
    client.call("setReaction", &reaction).await
}

async fn a_message_has_at_most_twenty_distinct_keys(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    ada.join(1).await;
    bob.join(1).await;
    ada.send(1, "hello").await;
    for n in 1..=20 {
        let reacted = react(&mut ada, &format!("k{n}"), true).await;
        assert_eq!(reacted["ok"], true, "{reacted}");
    }
    let refused = react(&mut bob, "k21", true).await["error"].clone();
    assert_eq!(
        (&refused["code"], &refused["retryable"]),
        (&json!("limit_exceeded"), &json!(false))
    );
    // A key that the message has may be set by any number of users; one that it does not have is
    // already clear.
    assert_eq!(react(&mut bob, "k7", true).await["message"]["rev"], 21);
    assert_eq!(react(&mut bob, "k21", false).await["message"]["rev"], 21);
    // When the last user has cleared a key, there is room for another.
    assert_eq!(react(&mut ada, "k7", false).await["ok"], true);
    assert_eq!(
        react(&mut bob, "k21", true).await["error"]["code"],
        "limit_exceeded"
    );
    assert_eq!(react(&mut bob, "k7", false).await["ok"], true);
    let reacted = react(&mut bob, "k21", true).await["message"].clone();
    let keys = reacted["reactions"].as_array().unwrap();
    assert_eq!(keys.len(), 20);
    assert_eq!(keys.last(), Some(&json!({"key": "k21", "count": 1})));
    // Keys are compared character by character.
    assert_eq!(
        react(&mut bob, "K1", true).await["error"]["code"],
        "limit_exceeded"
    );
}

async fn what_is_already_so_takes_no_number_and_reaches_no_connection(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    ada.join(1).await;
    bob.join(1).await;
    for text in ["one", "two"] {
        ada.send(1, text).await;
    }
    let edit = json!({"roomId": 1, "seq": 1, "content": "one"});
    let unchanged = ada.call("editMessage", &edit).await["message"].clone();
    assert_eq!(unchanged.get("rev"), None, "{unchanged}");
    assert_eq!(
        react(&mut ada, "+", false).await["message"].get("rev"),
        None
    );
    for _ in 0..3 {
        assert_eq!(react(&mut ada, "+", true).await["message"]["rev"], 1);
    }
    let edit = json!({"roomId": 1, "seq": 1, "content": "new"});
    for _ in 0..3 {
        assert_eq!(ada.call("editMessage", &edit).await["message"]["rev"], 2);
    }
    let delete = json!({"roomId": 1, "seq": 2});
    let deleted = ada.call("deleteMessage", &delete).await;
    assert_eq!(deleted["message"]["rev"], 3);
    assert_eq!(ada.call("deleteMessage", &delete).await, deleted);
    for _ in 0..3 {
        assert_eq!(react(&mut ada, "+", false).await["message"]["rev"], 4);
    }
    // Bob receives these four at most, merged or not, and nothing that changed nothing.
    let mut received = Vec::new();
    while received.last() != Some(&4) {
        let changed = bob.event("messageChanged").await;
        received.push(changed["rev"].as_u64().unwrap());
    }
    assert!(received.is_sorted_by(|a, b| a < b), "{received:?}");
    assert!(received.len() <= 4, "{received:?}");
    let page = json!({"roomId": 1, "afterRev": 0});
    let page = bob.call("listChanges", &page).await;
    let revs: Vec<_> = page["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["rev"].as_u64().unwrap())
        .collect();
    assert_eq!(revs, [3, 4]);
}

async fn a_repeat_of_a_changed_message_is_answered_with_its_newest_state(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    ada.join(1).await;
    bob.join(1).await;
    let sent = json!({"roomId": 1, "content": "hello", "clientMessageId": "c-1"});
    let other = json!({"roomId": 1, "content": "other", "clientMessageId": "c-1"});
    ada.call("sendMessage", &sent).await;
    assert_eq!(bob.event("newMessage").await["seq"], 1);
    // A reaction does not change what was sent.
    let reacted = react(&mut bob, "+", true).await;
    assert_eq!(ada.call("sendMessage", &sent).await, reacted);
    let refused = ada.call("sendMessage", &other).await;
    assert_eq!(refused["error"]["code"], "conflict");
    // After an edit, the original content is not known any more.
    let edit = json!({"roomId": 1, "seq": 1, "content": "bye"});
    let edited = ada.call("editMessage", &edit).await;
    assert_eq!(ada.call("sendMessage", &sent).await, edited);
    let delete = json!({"roomId": 1, "seq": 1});
    let deleted = ada.call("deleteMessage", &delete).await;
    assert_eq!(deleted["message"]["clientMessageId"], "c-1");
    assert_eq!(ada.call("sendMessage", &sent).await, deleted);
    // None of the repeats was broadcast.
    assert_eq!(ada.send(1, "next").await["message"]["seq"], 2);
    assert_eq!(bob.event("newMessage").await["seq"], 2);
}
