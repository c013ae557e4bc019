//! Changes to messages that the product makes, and reads.

use serde_json::{Value, json};

use super::{Answer, Api, KEY, KEYS, start};
use crate::nodes::group::Group;
use crate::support::Database;

crate::on_each_database!(
    the_product_edits_and_deletes_and_members_are_told,
    an_erased_message_is_an_empty_shell,
    what_does_not_exist_or_is_malformed_is_refused,
    changes_are_listed_in_pages,
    no_rule_binds_a_change_of_the_product,
);

const MESSAGE: &str = "/rooms/7/messages/1";

async fn patch(api: Api, path: &str, body: &Value) -> Answer {
    api.with_body("PATCH", path, &body.to_string()).await
}

async fn post(api: Api, body: Value) -> Value {
    api.post("/rooms/7/messages", &body).await.body(201)
}

/// Returns the rooms' messages as the API lists them.
async fn listed(api: Api) -> Vec<Value> {
    let page = api.get("/rooms/7/messages").await.body(200);
    page["messages"].as_array().unwrap().clone()
}

async fn the_product_edits_and_deletes_and_members_are_told(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut ada = gateway.connect("ada").await;
    ada.join(7).await;
    let sent = ada.send(7, "hello").await["message"].clone();
    let edit = json!({"content": "bye", "unknown": 1});
    let edited = patch(api, MESSAGE, &edit).await.body(200);
    let mut expected = sent.clone();
    expected["content"] = json!("bye");
    expected["rev"] = json!(1);
    expected["editedAt"] = edited["editedAt"].clone();
    expected["reactions"] = json!([]);
    assert_eq!(edited, expected);
    assert!(edited["editedAt"].as_str() >= edited["createdAt"].as_str());
    let told = json!({
        "roomId": 7, "rev": 1, "change": "edited", "message": edited, "by": null
    });
    assert_eq!(ada.event("messageChanged").await, told);
    // A repeat changes nothing.
    let again = patch(api, MESSAGE, &json!({"content": "bye"})).await;
    assert_eq!(again.body(200), edited);
    let reaction = json!({"roomId": 7, "seq": 1, "key": "+", "on": true});
    ada.call("setReaction", &reaction).await;
    // The product has no reactions of its own.
    assert_eq!(
        listed(api).await[0]["reactions"],
        json!([{"key": "+", "count": 1}])
    );

    for _ in 0..2 {
        let deleted = api.delete(MESSAGE).await;
        assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    }
    let shell = listed(api).await[0].clone();
    let mut expected = edited;
    expected["content"] = json!("");
    expected["rev"] = json!(3);
    expected["deletedAt"] = shell["deletedAt"].clone();
    assert_eq!(shell, expected);
    let told = loop {
        let told = ada.event("messageChanged").await;
        if told["rev"] == 3 {
            break told;
        }
    };
    assert_eq!(
        (&told["change"], &told["message"]),
        (&json!("deleted"), &shell)
    );
    // Deletion is final.
    let refused = patch(api, MESSAGE, &json!({"content": "again"})).await;
    assert_eq!(refused.error(), (409, "conflict".to_owned()));
    assert_eq!(refused.json()["error"]["retryable"], false);
    assert_eq!(listed(api).await, [shell]);
}

async fn an_erased_message_is_an_empty_shell(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut ada = gateway.connect("ada").await;
    ada.join(7).await;
    let message = json!({
        "userId": "eve", "name": "Eve", "content": "secret", "clientMessageId": "c-1"
    });
    let first = post(api, message.clone()).await;
    let mut other = message.clone();
    other["clientMessageId"] = json!("c-2");
    post(api, other).await;
    // One that has changed, and one that is deleted already.
    patch(api, MESSAGE, &json!({"content": "also secret"}))
        .await
        .body(200);
    let reaction = json!({"roomId": 7, "seq": 1, "key": "+", "on": true});
    ada.call("setReaction", &reaction).await;
    assert_eq!(api.delete("/rooms/7/messages/2").await.status, 204);
    let mut rev = 3;
    for seq in [1, 2] {
        let path = format!("/rooms/7/messages/{seq}?erase=true");
        for _ in 0..2 {
            let erased = api.delete(&path).await;
            assert_eq!((erased.status, erased.text.as_str()), (204, ""));
        }
        // So is a deletion of what is erased.
        assert_eq!(
            api.delete(&format!("/rooms/7/messages/{seq}")).await.status,
            204
        );
        rev += 1;
        let shell = listed(api).await[seq - 1].clone();
        let expected = json!({
            "id": shell["id"], "roomId": 7, "seq": seq, "content": "",
            "createdAt": shell["createdAt"], "userId": "deleted",
            "user": {"id": "deleted", "name": "deleted"}, "rev": rev,
            "erasedAt": shell["erasedAt"], "reactions": []
        });
        assert_eq!(shell, expected);
        assert!(shell["erasedAt"].is_string() && shell["id"].is_number());
        let told = loop {
            let told = ada.event("messageChanged").await;
            if told["rev"] == rev {
                break told;
            }
        };
        let expected = json!({
            "roomId": 7, "rev": rev, "change": "erased", "message": shell, "by": null
        });
        // Several changes may be merged, and have no author then.
        let mut told = told;
        told.as_object_mut()
            .unwrap()
            .entry("by")
            .or_insert(Value::Null);
        assert_eq!(told, expected);
    }
    let refused = patch(api, MESSAGE, &json!({"content": "again"})).await;
    assert_eq!(refused.error(), (409, "conflict".to_owned()));
    // The id is free: the same content is a new message.
    let again = post(api, message).await;
    assert_eq!(
        (&again["seq"], &again["content"]),
        (&json!(3), &first["content"])
    );
    let users = json!({"roomId": 7, "seq": 1, "key": "+"});
    let users = ada.call("listReactions", &users).await;
    assert_eq!(users["users"], json!([]));
}

async fn what_does_not_exist_or_is_malformed_is_refused(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let not_found = (404, "not_found".to_owned());
    let invalid = (400, "invalid_payload".to_owned());
    let edit = json!({"content": "x"});
    post(api, json!({"userId": "eve", "content": "x"})).await;
    // Without the room, and without the message.
    for path in ["/rooms/8/messages/1", "/rooms/7/messages/2"] {
        assert_eq!(patch(api, path, &edit).await.error(), not_found, "{path}");
        for query in ["", "?erase=true", "?erase=false"] {
            let path = format!("{path}{query}");
            assert_eq!(api.delete(&path).await.error(), not_found, "{path}");
        }
    }
    let unknown = api.get("/rooms/8/changes?afterRev=0").await;
    assert_eq!(unknown.error(), not_found);
    let before = listed(api).await;
    for seq in ["0", "x", "-1", "1.0", "01", "9007199254740992"] {
        let path = format!("/rooms/7/messages/{seq}");
        for refused in [patch(api, &path, &edit).await, api.delete(&path).await] {
            assert_eq!(refused.error(), invalid, "{path}");
            assert_eq!(refused.field(), "seq", "{path}");
        }
    }
    for (body, field) in [
        ("{}", "content"),
        (r#"{"content":null}"#, "content"),
        (r#"{"content":""}"#, "content"),
        (r#"{"content":" \n"}"#, "content"),
        (r#"{"content":"a\u0000"}"#, "content"),
        (r#"{"content":1}"#, "content"),
        (r#"{"content":"x","content":"x"}"#, ""),
        ("[]", ""),
        ("{", ""),
    ] {
        let refused = api.with_body("PATCH", MESSAGE, body).await;
        assert_eq!(refused.error(), invalid, "{body}");
        assert_eq!(refused.field(), field, "{body}");
    }
    let long = json!({"content": "é".repeat(4001)});
    assert_eq!(patch(api, MESSAGE, &long).await.error(), invalid);
    let untyped = api.send("PATCH", MESSAGE, KEY, Some("text/plain"), "{}");
    assert_eq!(untyped.await.status, 415);
    let unknown_key = api.send("DELETE", MESSAGE, "x", None, "").await;
    assert_eq!(unknown_key.error(), (401, "unauthorized".to_owned()));
    for (query, field) in [
        ("erase=maybe", "erase"),
        ("erase=", "erase"),
        ("erase=TRUE", "erase"),
        ("erase=true&erase=true", "erase"),
    ] {
        let refused = api.delete(&format!("{MESSAGE}?{query}")).await;
        assert_eq!(refused.error(), invalid, "{query}");
        assert_eq!(refused.field(), field, "{query}");
    }
    for (query, field) in [
        ("?afterRev=", "afterRev"),
        ("?afterRev=-1", "afterRev"),
        ("?afterRev=x", "afterRev"),
        ("?afterRev=9007199254740992", "afterRev"),
        ("?afterRev=0&limit=0", "limit"),
        ("?afterRev=0&limit=201", "limit"),
        ("?afterRev=0&afterRev=1", "afterRev"),
        ("?after=x", "after"),
    ] {
        let refused = api.get(&format!("/rooms/7/changes{query}")).await;
        assert_eq!(refused.error(), invalid, "{query}");
        assert_eq!(refused.field(), field, "{query}");
    }
    // None of it changed anything.
    assert_eq!(listed(api).await, before);
}

async fn changes_are_listed_in_pages(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    for n in 1..=5 {
        post(api, json!({"userId": "eve", "content": format!("m{n}")})).await;
    }
    let empty = api.get("/rooms/7/changes?afterRev=0").await.body(200);
    assert_eq!(empty, json!({"messages": [], "hasMore": false}));
    for seq in [4, 2, 5, 2] {
        let path = format!("/rooms/7/messages/{seq}");
        let edit = json!({"content": format!("edit of {seq}")});
        patch(api, &path, &edit).await.body(200);
        let path = format!("/rooms/7/messages/{seq}?erase=false");
        if seq == 4 {
            assert_eq!(api.delete(&path).await.status, 204);
        }
    }
    // The second edit of message 2 changed nothing.
    for (query, expected, has_more) in [
        ("", &[(4, 2), (2, 3), (5, 4)][..], false),
        ("afterRev=0", &[(4, 2), (2, 3), (5, 4)], false),
        ("afterRev=0&after=3", &[(5, 4)], false),
        ("afterRev=3&after=0", &[(5, 4)], false),
        ("afterRev=1", &[(4, 2), (2, 3), (5, 4)], false),
        ("afterRev=2", &[(2, 3), (5, 4)], false),
        ("afterRev=0&limit=2", &[(4, 2), (2, 3)], true),
        ("afterRev=3&limit=2", &[(5, 4)], false),
        ("afterRev=4", &[], false),
        ("afterRev=9007199254740991", &[], false),
    ] {
        let page = api
            .get(&format!("/rooms/7/changes?{query}"))
            .await
            .body(200);
        let messages = page["messages"].as_array().unwrap();
        let listed: Vec<_> = messages
            .iter()
            .map(|m| (m["seq"].as_u64().unwrap(), m["rev"].as_u64().unwrap()))
            .collect();
        assert_eq!(
            (&listed[..], &page["hasMore"]),
            (expected, &json!(has_more)),
            "{query}"
        );
    }
    let mut page = api
        .get("/rooms/7/changes?afterRev=0&limit=1")
        .await
        .body(200);
    let mut revs = Vec::new();
    loop {
        revs.push(page["messages"][0]["rev"].clone());
        let Some(next) = page["next"].as_u64() else {
            break;
        };
        let path = format!("/rooms/7/changes?after={next}&limit=1");
        page = api.get(&path).await.body(200);
    }
    assert_eq!(revs, [2, 3, 4]);
    let page = api.get("/rooms/7/changes?afterRev=0").await.body(200);
    let stored = listed(api).await;
    assert_eq!(page["messages"], json!([stored[3], stored[1], stored[4]]));
}

async fn no_rule_binds_a_change_of_the_product(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let settings = json!({"kind": "private", "frozen": true, "slowModeSeconds": 3600});
    api.put("/rooms/7", &settings).await.body(201);
    post(api, json!({"userId": "eve", "content": "x"})).await;
    assert_eq!(api.put("/rooms/7/bans/eve", &json!({})).await.status, 204);
    for n in 1..=3 {
        // The rules change between two requests: each is decided by the newest.
        let rules = json!({"slowModeSeconds": n});
        api.put("/rooms/7", &rules).await.body(200);
        let edited = patch(api, MESSAGE, &json!({"content": n.to_string()})).await;
        assert_eq!(edited.body(200)["rev"], n);
    }
    assert_eq!(api.delete(MESSAGE).await.status, 204);
    // A room that is being deleted does not exist.
    assert_eq!(api.delete("/rooms/7").await.status, 204);
    for refused in [
        patch(api, MESSAGE, &json!({"content": "x"})).await,
        api.delete(MESSAGE).await,
        api.get("/rooms/7/changes?afterRev=0").await,
    ] {
        assert_eq!(refused.error(), (404, "not_found".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_of_one_node_changes_reaches_the_members_on_another() {
    let group = Group::start_with(2, &[KEYS]).await;
    let api = Api::of(&group.nodes[0]);
    let mut ada = group.nodes[1].connect("ada").await;
    ada.join(7).await;
    post(api, json!({"userId": "eve", "content": "x"})).await;
    ada.event("newMessage").await;
    assert_eq!(
        api.delete(&format!("{MESSAGE}?erase=true")).await.status,
        204
    );
    let told = ada.event("messageChanged").await;
    assert_eq!(
        (&told["change"], &told["message"]["userId"]),
        (&json!("erased"), &json!("deleted"))
    );
}
