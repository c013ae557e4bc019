//! The first steps of `docs/server-api.md`, in every language that it shows them in.

use std::path::Path;
use std::process::Command;

use chat_test_support::run;
use serde_json::Value;

use super::server_api::{KEY, ask, start};
use super::support::Database;
use super::{DEADLINE, provided};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_requests_with_curl_work() {
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", &program_in("sh")]);
    work(shell).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_requests_in_node_work() {
    let mut node = Command::new(provided("TEST_NODE"));
    node.args(["--input-type=module", "--eval", &program_in("js")]);
    work(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_requests_in_python_work() {
    let mut python = Command::new(provided("TEST_PYTHON"));
    python.args(["-c", &program_in("python")]);
    work(python).await;
}

/// Returns the only program in this language.
fn program_in(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/server-api.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## First steps\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("\n```{language}\n");
    let mut programs = section.split(&fence).skip(1);
    let program = programs.next().expect(language);
    assert!(programs.next().is_none(), "one program in {language}");
    program.split("\n```").next().unwrap().to_owned()
}

/// Runs the program twice. Each time, it prints the message, which is stored once.
async fn work(mut program: Command) {
    let database = Database::sqlite();
    let gateway = start(&database);
    program
        .env("CHAT_URL", gateway.url())
        .env("CHAT_API_KEY", KEY);
    let first = message_of(&mut program);
    assert_eq!(message_of(&mut program), first);
    let expected = [("userId", "system"), ("content", "Welcome!")];
    for (field, value) in expected {
        assert_eq!(first[field], value, "{first}");
    }
    assert_eq!(first["user"]["name"], "System");
    assert_eq!(first["seq"], 1);
    let room = ask(&gateway, "GET", "/rooms/7").await;
    assert_eq!(room["kind"], "private", "{room}");
    assert_eq!(room["memberCount"], 1, "{room}");
    let members = ask(&gateway, "GET", "/rooms/7/members").await;
    let member = &members["members"][0];
    assert_eq!(
        (&member["userId"], &member["role"]),
        (&"42".into(), &"member".into())
    );
    assert_eq!(member["user"]["name"], "Ada");
    let messages = ask(&gateway, "GET", "/rooms/7/messages").await;
    assert_eq!(messages["messages"], Value::Array(vec![first]));
}

/// Returns what the last line of the program's output states.
fn message_of(program: &mut Command) -> Value {
    let output = run(program, DEADLINE).unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{failed}");
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}
