//! What members receive of changes: while they are connected, and when they return.

use serde_json::{Value, json};

use crate::nodes::group::Group;
use crate::support::client::Client;
use crate::support::{Database, Gateway};

crate::on_each_database!(
    members_receive_the_newest_state,
    a_member_that_returns_receives_exactly_what_changed,
);

/// Edits a message, and returns its new state.
async fn edit(client: &mut Client, seq: u64, content: &str) -> Value {
    let edit = json!({"roomId": 1, "seq": seq, "content": content});
    let answer = client.call("editMessage", &edit).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer["message"].clone()
}

async fn members_receive_the_newest_state(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    let mut bob = gateway.connect("bob").await;
    ada.join(1).await;
    bob.join(1).await;
    ada.send(1, "hello").await;
    let edited = edit(&mut ada, 1, "bye").await;
    let expected = json!({
        "roomId": 1, "rev": 1, "change": "edited", "message": edited, "by": "ada",
    });
    for client in [&mut ada, &mut bob] {
        assert_eq!(client.event("messageChanged").await, expected);
    }
    let react = json!({"roomId": 1, "seq": 1, "key": "👍", "on": true});
    bob.call("setReaction", &react).await;
    let changed = ada.event("messageChanged").await;
    assert_eq!(
        (&changed["change"], &changed["by"]),
        (&json!("reactions"), &json!("bob"))
    );
    // A broadcast serves all users.
    let reactions = json!([{"key": "👍", "count": 1}]);
    assert_eq!(changed["message"]["reactions"], reactions);
    ada.call("deleteMessage", &json!({"roomId": 1, "seq": 1}))
        .await;
    let deleted = ada.event("messageChanged").await;
    assert_eq!(
        (&deleted["change"], &deleted["message"]["content"]),
        (&json!("deleted"), &json!(""))
    );
    // Nobody else receives anything of it.
    let mut eve = gateway.connect("eve").await;
    eve.join(2).await;
    let received = eve.take_events();
    assert!(
        received.iter().all(|(name, _)| name != "messageChanged"),
        "{received:?}"
    );
}

async fn a_member_that_returns_receives_exactly_what_changed(database: &Database) {
    let gateway = Gateway::start(database);
    let mut ada = gateway.connect("ada").await;
    ada.join(1).await;
    for n in 1..=3 {
        ada.send(1, &format!("message {n}")).await;
    }
    edit(&mut ada, 1, "known").await;
    // Bob has the first two messages, and their first change.
    edit(&mut ada, 2, "new").await;
    edit(&mut ada, 3, "not yet received").await;
    let mut bob = gateway.connect("bob").await;
    let join = json!({"roomId": 1, "afterSeq": 2, "afterRev": 1});
    let joined = bob.call("joinRoom", &join).await;
    assert_eq!((&joined["seq"], &joined["rev"]), (&json!(3), &json!(3)));
    assert_eq!(joined.get("changesMissed"), None);
    let events = bob.take_events();
    let seen: Vec<_> = events
        .iter()
        .map(|(name, payload)| match name.as_str() {
            name @ "messageChanged" => (name, payload["message"]["content"].clone()),
            name @ "newMessage" => (name, payload["content"].clone()),
            name => (name, Value::Null),
        })
        .collect();
    let expected = [
        ("messageChanged", json!("new")),
        ("newMessage", json!("not yet received")),
        ("joinedRoom", Value::Null),
    ];
    assert_eq!(seen, expected);
    // From here on, changes arrive live.
    edit(&mut ada, 1, "live").await;
    let changed = bob.event("messageChanged").await;
    assert_eq!(
        (&changed["rev"], &changed["message"]["content"]),
        (&json!(4), &json!("live"))
    );
}

async fn change_on_the_other_node(group: &Group) {
    let mut ada = group.nodes[0].connect("ada").await;
    let mut bob = group.nodes[1].connect("bob").await;
    ada.join(1).await;
    bob.join(1).await;
    ada.send(1, "hello").await;
    bob.event("newMessage").await;
    let edited = edit(&mut ada, 1, "bye").await;
    assert_eq!(bob.event("messageChanged").await["message"], edited);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_on_another_node_receive_changes() {
    change_on_the_other_node(&Group::start(2).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_on_another_node_receive_changes_without_redis() {
    change_on_the_other_node(&Group::start_on("redis://127.0.0.1:1", 2)).await;
}
