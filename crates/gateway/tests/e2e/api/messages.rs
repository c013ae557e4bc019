//! Messages that the product sends as a user.

use serde_json::{Value, json};

use super::{Api, KEYS, start};
use crate::support::exchange::Exchange;
use crate::support::{Database, Gateway};

crate::on_each_database!(
    a_message_is_stored_once_and_reaches_the_room,
    no_rule_binds_the_product,
    messages_are_listed_in_pages,
    a_message_that_cannot_be_stored_is_unavailable,
);

async fn a_message_is_stored_once_and_reaches_the_room(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut ada = gateway.connect("ada").await;
    ada.join(7).await;
    let message = json!({
        "userId": "bot", "name": "Bot", "content": "hello", "clientMessageId": "c-1"
    });
    let sent = api.post("/rooms/7/messages", &message).await.body(201);
    let expected = json!({
        "id": sent["id"], "roomId": 7, "seq": 1, "content": "hello", "createdAt": sent["createdAt"],
        "userId": "bot", "user": { "id": "bot", "name": "Bot" }, "clientMessageId": "c-1"
    });
    assert_eq!(sent, expected);
    assert_eq!(ada.event("newMessage").await, expected);
    // The same again is a repeat, other content under the same id is a conflict.
    assert_eq!(
        api.post("/rooms/7/messages", &message).await.body(200),
        expected
    );
    let other = json!({ "userId": "bot", "content": "bye", "clientMessageId": "c-1" });
    let refused = api.post("/rooms/7/messages", &other).await;
    assert_eq!(refused.error(), (409, "conflict".to_owned()));

    // A repeat is recognized across sockets and the API, in both directions.
    let event = json!({ "roomId": 7, "content": "hi", "clientMessageId": "c-2" });
    let stored = ada.call("sendMessage", &event).await["message"].clone();
    assert_eq!(ada.event("newMessage").await, stored);
    let repeat = json!({ "userId": "ada", "content": "hi", "clientMessageId": "c-2" });
    let repeated = api.post("/rooms/7/messages", &repeat).await.body(200);
    assert_eq!(repeated["seq"], stored["seq"]);
    let sent = json!({ "userId": "ada", "content": "ho", "clientMessageId": "c-3" });
    let sent = api.post("/rooms/7/messages", &sent).await.body(201);
    let event = json!({ "roomId": 7, "content": "ho", "clientMessageId": "c-3" });
    assert_eq!(
        ada.call("sendMessage", &event).await["message"]["id"],
        sent["id"]
    );
    // Without a name, the one that is known stays, also in history.
    assert_eq!(sent["user"]["name"], "x");
    let unnamed = json!({ "userId": "bot", "content": "again" });
    let unnamed = api.post("/rooms/7/messages", &unnamed).await.body(201);
    assert_eq!(
        (&unnamed["user"]["name"], &unnamed["seq"]),
        (&json!("Bot"), &json!(4))
    );
    let unknown = json!({ "userId": 42, "content": "first" });
    let unknown = api.post("/rooms/7/messages", &unknown).await.body(201);
    assert_eq!(unknown["user"], json!({ "id": "42", "name": "42" }));

    for (body, field) in [
        (json!({ "content": "x" }), "userId"),
        (json!({ "userId": "", "content": "x" }), "userId"),
        (json!({ "userId": 1.5, "content": "x" }), "userId"),
        (json!({ "userId": "1" }), "content"),
        (json!({ "userId": "1", "content": " " }), "content"),
        (
            json!({ "userId": "1", "content": "x".repeat(4001) }),
            "content",
        ),
        (json!({ "userId": "1", "content": "x", "name": "" }), "name"),
        (
            json!({ "userId": "1", "content": "x", "clientMessageId": "é" }),
            "clientMessageId",
        ),
        (
            json!({ "userId": "1", "content": "x", "replyTo": 0 }),
            "replyTo",
        ),
        (
            json!({ "userId": "1", "content": "x", "replyTo": 6 }),
            "replyTo",
        ),
        (
            json!({ "userId": "1", "content": "x", "mentions": [""] }),
            "mentions",
        ),
        (
            json!({ "userId": "1", "content": "x", "metadata": [] }),
            "metadata",
        ),
    ] {
        let refused = api.post("/rooms/7/messages", &body).await;
        assert_eq!(
            refused.error(),
            (400, "invalid_payload".to_owned()),
            "{body}"
        );
        assert_eq!(refused.field(), field, "{body}");
    }
    let stored = api.get("/rooms/7/messages").await.body(200);
    assert_eq!(stored["messages"].as_array().unwrap().len(), 5);
}

async fn no_rule_binds_the_product(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let settings = json!({ "kind": "private", "frozen": true, "slowModeSeconds": 3600 });
    api.put("/rooms/7", &settings).await.body(201);
    api.put("/rooms/7/members/ada", &json!({ "role": "reader" }))
        .await
        .body(200);
    assert_eq!(api.put("/rooms/7/mutes/ada", &json!({})).await.status, 204);
    assert_eq!(api.put("/rooms/7/bans/eve", &json!({})).await.status, 204);
    let mut ada = gateway.connect("ada").await;
    ada.join(7).await;
    for (seq, user) in (1..).zip(["ada", "ada", "eve", "stranger"]) {
        // The rules change between two messages: the second is decided again.
        api.put("/rooms/7", &json!({ "slowModeSeconds": seq }))
            .await
            .body(200);
        let message = json!({ "userId": user, "content": "x" });
        let sent = api.post("/rooms/7/messages", &message).await.body(201);
        assert_eq!(sent["seq"], seq);
        assert_eq!(ada.event("newMessage").await, sent);
    }
}

async fn messages_are_listed_in_pages(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    for n in 1..=5 {
        let message = json!({ "userId": "1", "name": "Ada", "content": format!("m{n}") });
        api.post("/rooms/7/messages", &message).await.body(201);
    }
    let seqs = |page: &Value| -> Vec<u64> {
        let messages = page["messages"].as_array().unwrap().iter();
        messages
            .map(|message| message["seq"].as_u64().unwrap())
            .collect()
    };
    for (query, expected, has_more) in [
        ("", &[1, 2, 3, 4, 5][..], false),
        ("?limit=2", &[4, 5], true),
        ("?limit=2&beforeSeq=4", &[2, 3], true),
        ("?limit=3&beforeSeq=4", &[1, 2, 3], false),
        ("?limit=2&afterSeq=0", &[1, 2], true),
        ("?afterSeq=3", &[4, 5], false),
        ("?afterSeq=5", &[], false),
        ("?afterSeq=9007199254740991", &[], false),
    ] {
        let page = api
            .get(&format!("/rooms/7/messages{query}"))
            .await
            .body(200);
        assert_eq!(
            (seqs(&page), &page["hasMore"]),
            (expected.to_vec(), &json!(has_more)),
            "{query}"
        );
    }
    for (query, field) in [
        ("beforeSeq=0", "beforeSeq"),
        ("afterSeq=-1", "afterSeq"),
        ("afterSeq=9007199254740992", "afterSeq"),
        ("afterSeq=1&beforeSeq=2", "beforeSeq"),
        ("limit=1000", "limit"),
    ] {
        let refused = api.get(&format!("/rooms/7/messages?{query}")).await;
        assert_eq!(
            refused.error(),
            (400, "invalid_payload".to_owned()),
            "{query}"
        );
        assert_eq!(refused.field(), field, "{query}");
    }
}

async fn a_message_that_cannot_be_stored_is_unavailable(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let message = json!({ "userId": "1", "name": "Ada", "content": "hello" });
    api.post("/rooms/7/messages", &message).await.body(201);
    database.sql(match database {
        Database::Sqlite(_) => {
            "CREATE TRIGGER refuse BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END"
        }
        Database::Postgres(_) => "ALTER TABLE messages ADD CHECK (content <> 'hello') NOT VALID",
    });
    let refused = api.post("/rooms/7/messages", &message).await;
    assert_eq!(refused.error(), (503, "unavailable".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.json()["error"]["retryable"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_of_one_node_does_reaches_the_clients_of_another() {
    let database = Database::postgres();
    let exchange = Exchange::shared();
    let settings = [&[KEYS][..], &exchange.settings()].concat();
    let one = Gateway::start_with(&database, &settings);
    let two = Gateway::start_with(&database, &settings);
    let api = Api::of(&one);
    let private = json!({ "kind": "private" });
    api.put("/rooms/7", &private).await.body(201);
    api.put("/rooms/7/members/ada", &json!({ "role": "owner" }))
        .await
        .body(200);
    let mut ada = two.connect("ada").await;
    ada.join(7).await;
    let message = json!({ "userId": "bot", "name": "Bot", "content": "hello" });
    let sent = api.post("/rooms/7/messages", &message).await.body(201);
    assert_eq!(ada.event("newMessage").await, sent);
    let body = json!({ "members": [
        { "userId": "bob", "role": "owner" }, { "userId": "eve", "role": "member" }
    ]});
    api.post("/rooms/7/members", &body).await.body(200);
    let mut bob = two.connect("bob").await;
    bob.join(7).await;
    assert_eq!(ada.event("roomChanged").await["room"]["memberCount"], 3);
    for user in ["bob", "eve"] {
        assert_eq!(ada.event("memberChanged").await["member"]["userId"], user);
    }
    // A ban excludes a connection on the other node.
    assert_eq!(api.put("/rooms/7/bans/ada", &json!({})).await.status, 204);
    let (mut event, mut left) = ada.any_event().await;
    if event == "memberChanged" {
        (event, left) = ada.any_event().await;
    }
    assert_eq!(
        (&*event, left),
        ("leftRoom", json!({ "roomId": 7, "reason": "banned" }))
    );
}
