//! The example client, `examples/javascript/client.mjs`, keeps its promises while the
//! gateway is killed and restarted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use chat_test_support::wait_until;
use serde_json::json;

use support::client::Client;
use support::{Database, Gateway, token};

const DEADLINE: Duration = Duration::from_secs(60);
/// Messages in the room before the example starts: more than the replay limit.
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
    let mut example = Example::start(project.path(), &gateway);
    for _ in 0..KILLS {
        example.wait_for("25 more");
        gateway.signal("KILL");
        gateway.wait();
        gateway = start();
    }
    example.wait_for("25 more");
    example.stop();
    let stored = example.wait_for("stored ");
    example.finish();

    assert_eq!(
        database.sql("SELECT count(*), min(seq), max(seq) FROM messages"),
        format!("{stored}|1|{stored}")
    );
}

async fn write_history(gateway: &Gateway) {
    let mut writer = Client::connect(gateway.address, &token("3", "Barbara")).await;
    writer.join(1).await;
    for batch in 0..HISTORY / 100 {
        let mut sent = Vec::new();
        for n in 0..100 {
            let payload = json!({ "roomId": 1, "content": format!("history {batch} {n}") });
            sent.push(writer.start("sendMessage", &payload).await);
        }
        for id in sent {
            let answer = writer.ack(id).await;
            assert_eq!(answer["ok"], true, "{answer}");
        }
    }
}

/// Creates a project that contains only the example's file and the package that it imports.
fn example_project() -> tempfile::TempDir {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = package.join("../../examples/javascript/client.mjs");
    let node_modules = package.join("tests/clients/node_modules");
    assert!(
        node_modules.is_dir(),
        "socket.io-client is not installed: run `cargo xtask test`"
    );
    let project = tempfile::tempdir().unwrap();
    std::fs::copy(example, project.path().join("client.mjs")).unwrap();
    symlink(node_modules, project.path().join("node_modules")).unwrap();
    project
}

struct Example {
    child: Child,
    lines: Receiver<String>,
}

impl Example {
    fn start(project: &Path, gateway: &Gateway) -> Self {
        let node = env::var_os("TEST_NODE")
            .unwrap_or_else(|| panic!("TEST_NODE is not set: run `cargo xtask test`"));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let mut child = Command::new(node)
            .arg("example_client.mjs")
            .current_dir(folder)
            .env("EXAMPLE_CLIENT", project.join("client.mjs"))
            .env("GATEWAY_URL", gateway.url())
            .env("HISTORY", HISTORY.to_string())
            .env("TOKEN_ADA", token("1", "Ada"))
            .env("TOKEN_GRACE", token("2", "Grace"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // The thread ends when the program closes its output.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                sender.send(line).ok();
            }
        });
        Self { child, lines }
    }

    /// Waits for the next line with this prefix and returns the rest of it.
    fn wait_for(&mut self, prefix: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE);
            let line =
                line.unwrap_or_else(|error| panic!("no line that starts with {prefix:?}: {error}"));
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }

    /// Makes the program stop sending messages.
    fn stop(&mut self) {
        let mut input = self.child.stdin.take().unwrap();
        input.write_all(b"stop\n").unwrap();
    }

    /// Waits until the program ends, which must be with success.
    fn finish(mut self) {
        let ended = wait_until(DEADLINE, "the example client ends", || {
            self.child.try_wait()
        });
        let ended = ended.unwrap();
        assert!(ended.success(), "the example client failed: {ended}");
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
