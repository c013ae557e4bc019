//! The example `examples/slack`: an export of Slack becomes messages of a room.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::provided;
use super::server_api::{KEY, ask, start};
use super::support::Database;
use super::support::client::http;

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_slack_is_imported_on_sqlite() {
    is_imported(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_slack_is_imported_on_postgres() {
    is_imported(&Database::postgres()).await;
}

/// Writes an export as Slack unpacks it.
fn write_export(folder: &Path) {
    let write = |name: &str, content: Value| {
        fs::write(folder.join(name), content.to_string()).unwrap();
    };
    fs::create_dir(folder.join("general")).unwrap();
    write("channels.json", json!([{ "id": "C1", "name": "general" }]));
    write(
        "users.json",
        json!([
            { "id": "U1", "name": "ada", "profile": { "display_name": "Ada", "real_name": "Ada L." } },
            { "id": "U2", "name": "grace", "profile": { "display_name": "", "real_name": "Grace" } },
        ]),
    );
    write(
        "general/2017-11-07.json",
        json!([
            { "type": "message", "user": "U2", "ts": "1510012800.000200",
              "thread_ts": "1509926401.000000",
              "text": "at &lt;work&gt;: <https://example.com|the page>" },
            { "type": "message", "subtype": "channel_join", "user": "U1",
              "ts": "1510012700.000000", "text": "<@U1> has joined the channel" },
            { "type": "message", "user": "U1", "ts": "1510012800.000100", "text": "hello <@U2>" },
        ]),
    );
    write(
        "general/2017-11-06.json",
        json!([
            { "type": "message", "subtype": "bot_message", "bot_id": "B1", "username": "build",
              "ts": "1509926400.123456", "text": "done" },
            { "type": "message", "user": "U1", "ts": "1509926401.000000", "text": "",
              "files": [{ "name": "plan.pdf", "permalink": "https://example.com/plan" }] },
            { "type": "message", "user": "U2", "ts": "1509926402.000000",
              "text": "ä".repeat(4001) },
        ]),
    );
}

async fn is_imported(database: &Database) {
    let folder = tempfile::tempdir().unwrap();
    write_export(folder.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = script.join("../../examples/slack/slack_to_ndjson.py");
    let converted = Command::new(provided("TEST_PYTHON"))
        .arg(script)
        .arg(folder.path())
        .arg("general")
        .output()
        .unwrap();
    assert!(converted.status.success(), "{converted:?}");
    let lines = String::from_utf8(converted.stdout).unwrap();

    let gateway = start(database);
    let request = format!(
        "POST /api/v1/rooms/7/import HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {KEY}\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {}\r\n\r\n{lines}",
        lines.len()
    );
    for expected in [
        json!({ "stored": 6, "repeated": 0, "lines": 6 }),
        json!({ "stored": 0, "repeated": 6, "lines": 6 }),
    ] {
        let (status, response) = http(gateway.address, &request).await;
        assert_eq!(status, 200, "{response}");
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);
    }
    let thread = ask(&gateway, "GET", "/rooms/7/messages?afterSeq=5").await;
    assert_eq!(thread["messages"][0]["replyTo"], 2);
    let page = ask(&gateway, "GET", "/rooms/7/messages").await;
    let messages = page["messages"].as_array().unwrap().iter();
    let seen: Vec<_> = messages
        .map(|m| (&m["user"]["name"], &m["content"], &m["createdAt"]))
        .collect();
    let long = "ä".repeat(4000);
    let expected = [
        ("build", "done", "2017-11-06T00:00:00.123Z"),
        (
            "Ada",
            "plan.pdf https://example.com/plan",
            "2017-11-06T00:00:01.000Z",
        ),
        ("Grace", &long, "2017-11-06T00:00:02.000Z"),
        ("Grace", "ä", "2017-11-06T00:00:02.000Z"),
        ("Ada", "hello @Grace", "2017-11-07T00:00:00.000Z"),
        (
            "Grace",
            "at <work>: the page (https://example.com)",
            "2017-11-07T00:00:00.000Z",
        ),
    ];
    let expected = expected.map(|(name, content, at)| (json!(name), json!(content), json!(at)));
    let seen: Vec<_> = seen
        .into_iter()
        .map(|(name, content, at)| (name.clone(), content.clone(), at.clone()))
        .collect();
    assert_eq!(seen, expected);
}
