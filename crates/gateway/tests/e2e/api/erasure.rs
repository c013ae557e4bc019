//! Users who are erased, and what is exported about users.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::import::line;
use super::{Api, start};
use crate::support::{DEADLINE, Database};

crate::on_each_database!(
    an_erased_user_leaves_at_once_and_without_a_trace,
    an_erasure_is_completed_by_another_process,
    an_export_contains_what_the_user_did,
);

/// How long an erasure in these tests may take on a busy machine.
const ERASED_WITHIN: Duration = Duration::from_secs(60);

async fn until_erased(database: &Database) {
    let began = Instant::now();
    while database.sql("SELECT count(*) FROM user_erasures") != "0" {
        assert!(began.elapsed() < ERASED_WITHIN, "the user is not erased");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the lines of an export, which must be complete, without the last one.
async fn export(api: Api, user: &str) -> Vec<Value> {
    let answer = api.get(&format!("/users/{user}/export")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    // The body has chunks: each has a line with its size.
    let lines = answer.text.lines().filter(|line| line.starts_with('{'));
    let mut lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let end = lines.pop().unwrap();
    assert_eq!(end, json!({ "type": "end", "lines": lines.len() }));
    lines
}

/// Lets Ada own a room, write, react and read.
async fn live(api: Api) {
    for (user, role) in [("ada", "owner"), ("grace", "member")] {
        let member = json!({ "role": role, "name": format!("{user} of the tests") });
        let path = format!("/rooms/7/members/{user}");
        api.put(&path, &member).await.body(200);
    }
    for (user, content) in [("grace", "one"), ("ada", "two"), ("ada", "three")] {
        let message = json!({ "userId": user, "content": content });
        api.post("/rooms/7/messages", &message).await.body(201);
    }
}

async fn an_erased_user_leaves_at_once_and_without_a_trace(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    live(api).await;
    let (mut ada, mut grace) = (gateway.connect("ada").await, gateway.connect("grace").await);
    ada.join(7).await;
    grace.join(7).await;
    let react = json!({ "roomId": 7, "seq": 1, "key": "+", "on": true });
    assert_eq!(ada.call("setReaction", &react).await["ok"], true);
    assert_eq!(grace.event("messageChanged").await["by"], "ada");

    assert_eq!(api.delete("/users/ada?messages=erase").await.status, 204);
    ada.read_to_end(DEADLINE).await;
    let left = grace.event("memberChanged").await;
    assert_eq!(
        (
            &left["member"]["userId"],
            &left["member"]["role"],
            &left["by"]
        ),
        (&json!("ada"), &Value::Null, &Value::Null)
    );
    let cleared = grace.event("messageChanged").await;
    assert_eq!(
        (&cleared["change"], &cleared["message"]["reactions"]),
        (&json!("reactions"), &json!([]))
    );
    for seq in [2, 3] {
        let erased = grace.event("messageChanged").await;
        assert_eq!(
            (&erased["change"], &erased["message"]["seq"]),
            (&json!("erased"), &json!(seq))
        );
        assert_eq!(erased["message"]["userId"], "deleted");
    }
    // Idempotent, also for a user who is not known.
    assert_eq!(api.delete("/users/ada").await.status, 204);
    assert_eq!(api.delete("/users/nobody").await.status, 204);
    until_erased(database).await;
    for user in ["ada", "nobody"] {
        assert_eq!(export(api, user).await, [] as [Value; 0]);
    }
    assert_eq!(api.get("/rooms/7").await.body(200)["memberCount"], 1);
    gateway.wait_for_log(|log| log.contains("user erased").then_some(()));
    assert!(!gateway.log().contains("ada of the tests"));

    let refused = api.delete("/users/deleted").await;
    assert_eq!(refused.error(), (409, "conflict".to_owned()));
    for query in ["messages=", "messages=both", "messages=keep&messages=keep"] {
        let refused = api.delete(&format!("/users/ada?{query}")).await;
        assert_eq!(refused.error(), (400, "invalid_payload".to_owned()));
        assert_eq!(refused.field(), "messages", "{query}");
    }
}

async fn an_erasure_is_completed_by_another_process(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    live(api).await;
    assert_eq!(api.delete("/users/ada").await.status, 204);
    gateway.signal("KILL");
    drop(gateway);
    let gateway = start(database);
    let api = Api::of(&gateway);
    until_erased(database).await;
    let page = api.get("/rooms/7/messages").await.body(200);
    let seen: Vec<_> = page["messages"].as_array().unwrap().iter().collect();
    let seen: Vec<_> = seen
        .into_iter()
        .map(|m| {
            (
                m["userId"].as_str().unwrap(),
                m["content"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [("grace", "one"), ("deleted", "two"), ("deleted", "three")]
    );
    // The messages are as they were, but for their author.
    assert_eq!(page["messages"][1].get("rev"), None);
}

async fn an_export_contains_what_the_user_did(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    live(api).await;
    let ban = json!({ "seconds": 60, "reason": "spam" });
    api.put("/rooms/8/bans/ada", &ban).await;
    let revoked = api.post("/users/ada/revoke", &json!({})).await.body(200);
    let mut lines = String::new();
    for n in 0..600 {
        lines.push_str(&line("ada", n, &format!("imported {n}")));
    }
    super::import::import(api, 9, &lines).await.body(200);

    let exported = export(api, "ada").await;
    let of = |kind: &str| {
        let lines = exported.iter().filter(|line| line["type"] == kind);
        lines.collect::<Vec<_>>()
    };
    let user = json!({ "type": "user", "name": "ada of the tests", "lastSeenAt": null });
    assert_eq!(of("user"), [&user]);
    let [member] = of("member")[..] else {
        panic!("{exported:?}")
    };
    assert_eq!(
        (&member["roomId"], &member["role"], &member["notify"]),
        (&json!(7), &json!("owner"), &json!("all"))
    );
    let [ban] = of("ban")[..] else {
        panic!("{exported:?}")
    };
    assert_eq!(
        (&ban["roomId"], &ban["reason"]),
        (&json!(8), &json!("spam"))
    );
    assert!(ban["until"].is_string());
    let [revocation] = of("revocation")[..] else {
        panic!("{exported:?}")
    };
    assert_eq!(revocation["issuedBefore"], revoked["issuedBefore"]);
    let pointers: Vec<_> = of("readPointer")
        .iter()
        .map(|line| (line["roomId"].clone(), line["seq"].clone()))
        .collect();
    assert_eq!(pointers, [(json!(7), json!(3)), (json!(9), json!(600))]);
    let messages: Vec<_> = of("message")
        .iter()
        .map(|line| line["message"].clone())
        .collect();
    assert_eq!(messages.len(), 602);
    let page = api.get("/rooms/7/messages?afterSeq=1").await.body(200);
    assert_eq!(Value::from(&messages[..2]), page["messages"]);
    assert_eq!(messages[601]["content"], "imported 599");
}
