//! The server API against its own description. Spectral checks the description; schemathesis
//! sends what it describes and what it does not, and compares the answers with it.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chat_test_support::ChildProcess;
use serde_json::Value;

use super::support::client::http;
use super::support::{Database, Gateway};
use super::{DEADLINE, clients, finish, program, provided};

pub(super) const KEY: &str = "a-key-of-the-server-api-for-tests-0123456789";

/// How many requests schemathesis makes up for each operation, unless `API_EXAMPLES` states it.
const EXAMPLES: &str = "8";

/// How long schemathesis may take with another number of them.
const LONG_DEADLINE: Duration = Duration::from_secs(3600);

/// Starts a gateway that serves the API to the key.
pub(super) fn start(database: &Database) -> Gateway {
    let keys = format!("backend:{KEY}");
    Gateway::start_with(database, &[("API_KEYS", &keys)])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_of_the_server_api_passes_spectral() {
    let database = Database::sqlite();
    let gateway = start(&database);
    let folder = tempfile::tempdir().unwrap();
    let description = folder.path().join("openapi.json");
    let described = ask(&gateway, "GET", "/openapi.json").await;
    fs::write(&description, described.to_string()).unwrap();
    passes_spectral(&description);
}

#[test]
fn the_description_of_the_events_passes_spectral() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    passes_spectral(&folder.join("../../docs/asyncapi.yaml"));
}

fn passes_spectral(description: &Path) {
    let mut spectral = program(
        "TEST_NODE",
        "node_modules/@stoplight/spectral-cli/dist/index.js",
    );
    spectral
        .args(["lint", "--ruleset", "spectral.yaml"])
        .args(["--fail-severity", "hint"])
        .arg(description);
    finish(ChildProcess::start(&mut spectral).unwrap());
}

#[test]
fn the_server_api_behaves_as_described_on_sqlite() {
    behaves_as_described(&Database::sqlite());
}

#[test]
fn the_server_api_behaves_as_described_on_postgres() {
    behaves_as_described(&Database::postgres());
}

/// Sends a request without a body, which must succeed, and returns the answer's body.
pub(super) async fn ask(gateway: &Gateway, method: &str, path: &str) -> Value {
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {KEY}\r\n\r\n"
    );
    let (status, response) = http(gateway.address, &request).await;
    assert_eq!(status, 200, "{response}");
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// Stores the message that the hooks of schemathesis name where one has to exist.
fn store_message(gateway: &Gateway) {
    let body = r#"{ "userId": "1", "content": "x" }"#;
    let request = format!(
        "POST /api/v1/rooms/70/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (status, response) = runtime.block_on(http(gateway.address, &request));
    assert_eq!(status, 201, "{response}");
}

/// Without `API_EXAMPLES`, every run sends the same requests, so that it does not fail because of
/// another change. With it, each run makes up others.
fn behaves_as_described(database: &Database) {
    let gateway = start(database);
    store_message(&gateway);
    // It keeps what it has found in its working directory.
    let folder = tempfile::tempdir().unwrap();
    let mut schemathesis = Command::new(provided("TEST_PYTHON"));
    schemathesis
        .current_dir(&folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(
            "SCHEMATHESIS_HOOKS_FILE",
            clients().join("schemathesis_hooks.py"),
        )
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(clients().join("schemathesis.toml"))
        .arg("run")
        .arg(format!("{}/api/v1/openapi.json", gateway.url()))
        .args(["--header", &format!("Authorization:Bearer {KEY}")])
        .args(["--checks", "all"])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--continue-on-failure", "--no-color"]);
    let deadline = match env::var("API_EXAMPLES") {
        Ok(examples) => {
            schemathesis.args(["--max-examples", &examples]);
            LONG_DEADLINE
        }
        Err(_) => {
            schemathesis.args(["--max-examples", EXAMPLES, "--generation-deterministic"]);
            DEADLINE * 2
        }
    };
    let mut schemathesis = ChildProcess::start(&mut schemathesis).unwrap();
    let status = schemathesis.wait(deadline).unwrap();
    assert!(status.success(), "schemathesis found something: {status}");
}
