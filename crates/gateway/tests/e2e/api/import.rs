//! Messages that are imported.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, Api, KEY, start};
use crate::support::{Database, Gateway};

crate::on_each_database!(
    an_import_is_stored_in_order_and_received_as_messages,
    a_repeated_import_stores_nothing_again,
    an_error_names_the_line_and_what_precedes_it_is_stored,
    what_has_arrived_of_a_body_that_breaks_off_is_stored,
    an_import_is_resumed_after_the_node_was_killed,
    an_import_carries_what_messages_carry,
    an_import_is_larger_than_other_bodies,
    an_import_does_not_delay_others,
);

/// Returns a line of an import.
pub(super) fn line(user: &str, n: u64, content: &str) -> String {
    let at = chat_domain::Timestamp::from_unix_millis(1_500_000_000_000 + n as i64);
    let line = json!({
        "userId": user,
        "content": content,
        "createdAt": at.to_string(),
        "clientMessageId": format!("import-{n}"),
    });
    format!("{line}\n")
}

pub(super) async fn import(api: Api, room: u64, lines: &str) -> Answer {
    let path = format!("/rooms/{room}/import");
    api.send("POST", &path, KEY, Some("application/x-ndjson"), lines)
        .await
}

fn lines(range: std::ops::Range<u64>) -> String {
    range
        .map(|n| line("ada", n, &format!("line {n}")))
        .collect()
}

async fn messages(api: Api, room: u64) -> Vec<Value> {
    let path = format!("/rooms/{room}/messages?afterSeq=0&limit=200");
    let page = api.get(&path).await.body(200);
    page["messages"].as_array().unwrap().clone()
}

fn contents(messages: &[Value]) -> Vec<&str> {
    let contents = messages.iter().map(|m| m["content"].as_str().unwrap());
    contents.collect()
}

async fn an_import_is_stored_in_order_and_received_as_messages(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    api.put("/rooms/7", &json!({ "frozen": true }))
        .await
        .body(201);
    let mut grace = gateway.connect("grace").await;
    grace.join(7).await;
    grace.event("joinedRoom").await;
    // A blank line, another line end, and no end of the last line.
    let named = json!({
        "userId": 5, "name": "Eve", "content": "by Eve", "createdAt": "2017-07-14T02:40:00+00:00",
    });
    let body = format!("{}\n\r\n{named}\r\n{}", lines(0..3), line("ada", 4, "last"));
    let answer = import(api, 7, body.trim_end()).await.body(200);
    assert_eq!(answer, json!({ "stored": 5, "repeated": 0, "lines": 7 }));
    let stored = messages(api, 7).await;
    assert_eq!(
        contents(&stored),
        ["line 0", "line 1", "line 2", "by Eve", "last"]
    );
    assert_eq!(stored[1]["createdAt"], "2017-07-14T02:40:00.001Z");
    assert_eq!(stored[3]["user"], json!({ "id": "5", "name": "Eve" }));
    assert_eq!(stored[3].get("clientMessageId"), None);
    for message in &stored {
        assert_eq!(grace.event("newMessage").await, *message);
    }
    let answer = import(api, 7, "").await.body(200);
    assert_eq!(answer, json!({ "stored": 0, "repeated": 0, "lines": 0 }));
}

async fn a_repeated_import_stores_nothing_again(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let first = import(api, 7, &lines(0..700)).await.body(200);
    assert_eq!(first, json!({ "stored": 700, "repeated": 0, "lines": 700 }));
    let again = import(api, 7, &lines(0..701)).await.body(200);
    assert_eq!(again, json!({ "stored": 1, "repeated": 700, "lines": 701 }));
    let last = api.get("/rooms/7/messages?limit=1").await.body(200);
    assert_eq!(last["messages"][0]["seq"], 701);
}

async fn an_error_names_the_line_and_what_precedes_it_is_stored(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let long = "x".repeat(70_000);
    let future = json!({ "userId": "1", "content": "x", "createdAt": "9999-01-01T00:00:00Z" });
    let undated = json!({ "userId": "1", "content": "x" });
    let blank = json!({ "userId": "1", "content": " ", "createdAt": "2017-07-14T02:40:00Z" });
    for (room, wrong, field) in [
        (1, "{".to_owned(), ""),
        (2, "[]".to_owned(), ""),
        (3, r#"{"userId":"1","userId":"1"}"#.to_owned(), ""),
        (4, blank.to_string(), "content"),
        (5, undated.to_string(), "createdAt"),
        (6, future.to_string(), "createdAt"),
        (7, format!(r#"{{"x":"{long}"}}"#), ""),
    ] {
        let body = format!("{}\n{wrong}\n{}", lines(0..2), lines(2..4));
        let answer = import(api, room, &body).await;
        assert_eq!(answer.error(), (400, "invalid_payload".to_owned()));
        assert_eq!(answer.field(), field, "{answer:?}");
        let answer = answer.json();
        assert_eq!(answer["error"]["line"], 4, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("line 4: "), "{answer}");
        assert_eq!(
            (&answer["stored"], &answer["lines"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(contents(&messages(api, room).await), ["line 0", "line 1"]);
    }
    // A conflict is found when the line is stored.
    let body = format!("{}{}{}", lines(2..4), line("ada", 1, "other"), lines(4..5));
    let answer = import(api, 1, &body).await;
    assert_eq!(answer.error(), (409, "conflict".to_owned()));
    let answer = answer.json();
    assert_eq!(
        (
            &answer["error"]["line"],
            &answer["stored"],
            &answer["lines"]
        ),
        (&json!(3), &json!(2), &json!(2))
    );
    let undeclared = api.post("/rooms/7/import", &json!({})).await;
    assert_eq!(undeclared.error(), (415, "invalid_payload".to_owned()));
    assert_eq!(import(api, 0, "").await.field(), "roomId");
    // A room that is being deleted.
    assert_eq!(api.delete("/rooms/1").await.status, 204);
    let answer = import(api, 1, &lines(5..6)).await;
    assert_eq!(answer.error(), (409, "conflict".to_owned()));
}

/// Sends the beginning of an import, with chunks.
async fn begin(gateway: &Gateway, room: u64, lines: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST /api/v1/rooms/{room}/import HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {KEY}\r\nContent-Type: application/x-ndjson\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    stream.write_all(chunk.as_bytes()).await.unwrap();
    stream
}

async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waiting = tokio::time::timeout(Duration::from_secs(30), waiting);
    waiting.await.expect("it becomes so within 30 seconds");
}

async fn what_has_arrived_of_a_body_that_breaks_off_is_stored(database: &Database) {
    let mut gateway = start(database);
    let api = Api::of(&gateway);
    drop(begin(&gateway, 7, &lines(0..3)).await);
    let stored = || database.sql("SELECT count(*) FROM messages");
    until(|| stored() == "3").await;
    let answer = import(api, 7, &lines(0..4)).await.body(200);
    assert_eq!(answer, json!({ "stored": 1, "repeated": 3, "lines": 4 }));

    // A node that shuts down stores what has arrived, and says how much that is.
    let begun = format!("{}{{", lines(4..518));
    let mut stream = begin(&gateway, 7, &begun).await;
    // The first batch is stored: the rest has arrived, too.
    until(|| stored() == "516").await;
    gateway.signal("TERM");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let progress = r#""stored":514,"repeated":0,"lines":514"#;
    assert!(answer.contains(progress), "{answer}");
    assert!(gateway.wait().success());
    assert_eq!(stored(), "518");
}

async fn an_import_is_resumed_after_the_node_was_killed(database: &Database) {
    const LINES: u64 = 20_000;
    let gateway = start(database);
    let body = lines(0..LINES);
    let stored = || database.sql("SELECT count(*) FROM messages").parse::<u64>();
    let killing = async {
        while stored().unwrap() < 2000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gateway.signal("KILL");
    };
    tokio::select! {
        _ = async { begin(&gateway, 7, &body).await.read_u8().await } => panic!("it has ended"),
        () = killing => {}
    }
    drop(gateway);
    let gateway = start(database);
    let before = stored().unwrap();
    assert!(before < LINES, "it was killed too late");
    let answer = import(Api::of(&gateway), 7, &body).await.body(200);
    let progress = json!({ "stored": LINES - before, "repeated": before, "lines": LINES });
    assert_eq!(answer, progress);
    let in_order = "SELECT count(*) FROM messages WHERE content = 'line ' || (seq - 1) \
         AND client_message_id = 'import-' || (seq - 1)";
    assert_eq!(database.sql(in_order), LINES.to_string());
    let newest = "SELECT max(seq) FROM messages";
    assert_eq!(database.sql(newest), LINES.to_string());
}

async fn an_import_carries_what_messages_carry(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let carrying = |n: u64, extras: Value| {
        let mut line: Value = serde_json::from_str(&line("ada", n, "x")).unwrap();
        let fields = extras.as_object().unwrap().clone();
        line.as_object_mut().unwrap().extend(fields);
        format!("{line}\n")
    };
    let sent = json!({ "userId": "grace", "content": "first" });
    api.post("/rooms/7/messages", &sent).await.body(201);
    let full = json!({ "replyTo": 1, "mentions": ["grace", 5], "metadata": { "a": [1.0] } });
    let body = carrying(0, full.clone()) + &carrying(1, json!({ "replyTo": 2 }));
    let answer = import(api, 7, &body).await.body(200);
    assert_eq!(answer["stored"], 2);
    let stored = messages(api, 7).await;
    assert_eq!(stored[1]["replyTo"], 1);
    assert_eq!(stored[1]["mentions"], json!(["grace", "5"]));
    assert_eq!(stored[1]["metadata"], full["metadata"]);
    assert_eq!(stored[2]["replyTo"], 2);
    assert_eq!(import(api, 7, &body).await.body(200)["repeated"], 2);
    for (wrong, field) in [
        // Its own number.
        (json!({ "replyTo": 5 }), "replyTo"),
        (json!({ "replyTo": 0 }), "replyTo"),
        (json!({ "mentions": "grace" }), "mentions"),
        (json!({ "metadata": [] }), "metadata"),
    ] {
        let body = carrying(2, json!({})) + &carrying(3, wrong);
        let answer = import(api, 7, &body).await;
        assert_eq!(answer.error(), (400, "invalid_payload".to_owned()));
        assert_eq!(answer.field(), field, "{answer:?}");
        assert_eq!(answer.json()["error"]["line"], 2);
    }
}

async fn an_import_is_larger_than_other_bodies(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let text = "x".repeat(2000);
    let body: String = (0..1500).map(|n| line("ada", n, &text)).collect();
    assert!(body.len() > 3 * 1024 * 1024);
    let answer = import(api, 7, &body).await.body(200);
    assert_eq!(answer["stored"], 1500);
    assert_eq!(
        database.sql("SELECT last_seq FROM rooms WHERE id = 7"),
        "1500"
    );
}

async fn an_import_does_not_delay_others(database: &Database) {
    let gateway = start(database);
    let api = Api::of(&gateway);
    let mut grace = gateway.connect("grace").await;
    grace.join(1).await;
    let body: String = (0..5000).map(|n| line("ada", n, "x")).collect();
    let importing = tokio::spawn(async move { import(api, 7, &body).await });
    let mut beside = 0;
    while !importing.is_finished() {
        let sent = grace.send(1, "beside it").await;
        assert_eq!(sent["ok"], true, "{sent}");
        beside += 1;
    }
    assert_eq!(importing.await.unwrap().body(200)["stored"], 5000);
    // There are ten batches, and a message waits for one of them at most.
    assert!(beside >= 5, "{beside}");
}
