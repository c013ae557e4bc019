//! The example client, `examples/javascript/client.mjs`, keeps its promises while the
//! gateway is killed and restarted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chat_test_support::ChildProcess;
use serde_json::{Value, json};

use support::client::Client;
use support::example::example_project;
use support::{Database, Gateway, token};

const DEADLINE: Duration = Duration::from_secs(60);
/// Messages in the room before the example starts, all of them changed: more than the limits of
/// replays.
const HISTORY: u64 = 1100;
const KILLS: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_client_loses_and_duplicates_nothing_on_sqlite() {
    loses_and_duplicates_nothing(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_client_loses_and_duplicates_nothing_on_postgres() {
    loses_and_duplicates_nothing(&Database::postgres()).await;
}

async fn loses_and_duplicates_nothing(database: &Database) {
    // While the gateway is down, the kernel does not assign this port to an outgoing
    // connection.
    let port = chat_test_support::free_port().unwrap().to_string();
    let start = || Gateway::start_with(database, &[("PORT", &port), ("MESSAGE_RATE", "0")]);
    let mut gateway = start();
    write_history(&gateway).await;

    let project = example_project();
    let mut example = start_example(project.path(), &gateway);
    for _ in 0..KILLS {
        example.next_line_with("25 more", DEADLINE).unwrap();
        gateway.signal("KILL");
        gateway.wait();
        gateway = start();
    }
    example.next_line_with("25 more", DEADLINE).unwrap();
    // It stops sending messages, and ends.
    example.write_line("stop").unwrap();
    example.close_input();
    let stored = example.next_line_with("stored ", DEADLINE).unwrap();
    let ended = example.wait(DEADLINE).unwrap();
    assert!(ended.success(), "the example client failed: {ended}");

    assert_eq!(
        database.sql("SELECT count(*), min(seq), max(seq) FROM messages"),
        format!("{stored}|1|{stored}")
    );
}

async fn write_history(gateway: &Gateway) {
    let mut writer = Client::connect(gateway.address, &token("3", "Barbara")).await;
    writer.join(1).await;
    let message = |n| json!({ "roomId": 1, "content": format!("history {n}") });
    write(&mut writer, "sendMessage", message).await;
    let reaction = |n| json!({ "roomId": 1, "seq": n, "key": "👀", "on": true });
    write(&mut writer, "setReaction", reaction).await;
}

async fn write(writer: &mut Client, event: &str, payload: impl Fn(u64) -> Value) {
    for batch in 0..HISTORY / 100 {
        let mut sent = Vec::new();
        for n in batch * 100..(batch + 1) * 100 {
            sent.push(writer.start(event, &payload(n + 1)).await);
        }
        for id in sent {
            let answer = writer.ack(id).await;
            assert_eq!(answer["ok"], true, "{answer}");
        }
    }
}

fn start_example(project: &Path, gateway: &Gateway) -> ChildProcess {
    let node = env::var_os("TEST_NODE")
        .unwrap_or_else(|| panic!("TEST_NODE is not set: run `cargo xtask test`"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut example = Command::new(node);
    example
        .arg("example_client.mjs")
        .current_dir(folder)
        .env("EXAMPLE_CLIENT", project.join("client.mjs"))
        .env("GATEWAY_URL", gateway.url())
        .env("HISTORY", HISTORY.to_string())
        .env("TOKEN_ADA", token("1", "Ada"))
        .env("TOKEN_GRACE", token("2", "Grace"));
    ChildProcess::start(&mut example).unwrap()
}
