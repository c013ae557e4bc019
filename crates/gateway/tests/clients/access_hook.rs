//! The receiver in `docs/access-hook.md`.

use std::path::Path;
use std::process::Command;

use chat_test_support::ChildProcess;
use serde_json::json;

use super::support::client::Client;
use super::support::{Database, Gateway, now, sign};
use super::{DEADLINE, provided};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Starts the documented receiver, which verifies with this secret. Returns its URL.
fn receiver(secret: &str) -> (ChildProcess, String) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/access-hook.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, program) = page.split_once("\n```js\n").unwrap();
    let (program, _) = program.split_once("\n```\n").unwrap();
    let mut node = Command::new(provided("TEST_NODE"));
    node.args(["--input-type=module", "--eval", program])
        .env("WEBHOOK_SECRET", secret)
        .env("PORT", "0");
    let mut node = ChildProcess::start(&mut node).unwrap();
    let url = node.next_line_with("listening on ", DEADLINE).unwrap();
    let url = url.rsplit(' ').next().unwrap().to_owned();
    (node, url)
}

/// Joins a room and sends a message. Returns `ok` or the code of the refusal.
async fn join_and_send(gateway: &Gateway, plan: &str, room: u64) -> String {
    let claims = json!({ "sub": plan, "plan": plan, "exp": now() + 600 });
    let mut client = Client::connect(gateway.address, &sign(&claims)).await;
    let message = json!({ "roomId": room, "content": "hello" });
    let mut answer = client.call("joinRoom", &json!({ "roomId": room })).await;
    if answer["ok"] == true {
        answer = client.call("sendMessage", &message).await;
    }
    let code = answer["error"]["code"].as_str().unwrap_or("ok");
    code.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_receiver_verifies_calls_and_decides() {
    let database = Database::sqlite();
    let (_receiver, url) = receiver(SECRET);
    let settings = [("ACCESS_URL", url.as_str()), ("WEBHOOK_SECRET", SECRET)];
    let gateway = Gateway::start_with(&database, &settings);
    for (plan, room, expected) in [
        ("team", 7, "ok"),
        ("free", 7, "forbidden"),
        ("team", 100, "not_found"),
    ] {
        assert_eq!(join_and_send(&gateway, plan, room).await, expected);
    }
    let (_receiver, url) = receiver("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let settings = [("ACCESS_URL", url.as_str()), ("WEBHOOK_SECRET", SECRET)];
    let gateway = Gateway::start_with(&database, &settings);
    assert_eq!(join_and_send(&gateway, "team", 7).await, "unavailable");
    let refused = |log: &str| log.find("the response has status 401");
    gateway.wait_for_log(refused);
}
