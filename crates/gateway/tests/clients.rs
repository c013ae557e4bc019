//! Other people's clients against the real gateway, on both databases: npm's
//! socket.io-client, PyPI's python-socketio, and the demo page in a browser.
//!
//! What they see and say is in `clients/`, one program for each story; here the
//! gateway is started for them. A program that fails says why on its output, which
//! is shown.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::env;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use serde_json::json;

use support::{Database, Gateway, command, now, sign, token};

/// How long a program may take from its start to its end.
const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn socket_io_client_on_sqlite() {
    node_tells("conversation.mjs", Database::sqlite());
}

#[test]
fn socket_io_client_on_postgres() {
    node_tells("conversation.mjs", Database::postgres());
}

#[test]
fn socket_io_client_handshakes_on_sqlite() {
    node_tells("handshake.mjs", Database::sqlite());
}

#[test]
fn socket_io_client_handshakes_on_postgres() {
    node_tells("handshake.mjs", Database::postgres());
}

#[test]
fn socket_io_client_survives_a_restart_on_sqlite() {
    survives_a_restart(Database::sqlite());
}

#[test]
fn socket_io_client_survives_a_restart_on_postgres() {
    survives_a_restart(Database::postgres());
}

#[test]
fn python_asyncio_client_on_sqlite() {
    python_tells("conversation_asyncio.py", Database::sqlite());
}

#[test]
fn python_asyncio_client_on_postgres() {
    python_tells("conversation_asyncio.py", Database::postgres());
}

#[test]
fn python_threaded_client_on_sqlite() {
    python_tells("conversation_threads.py", Database::sqlite());
}

#[test]
fn python_threaded_client_on_postgres() {
    python_tells("conversation_threads.py", Database::postgres());
}

/// As a newcomer starts it: with nothing configured.
#[test]
fn demo_page_on_sqlite() {
    demo_page_works(&[], "demo-page.png");
}

#[test]
fn demo_page_on_postgres() {
    let database = Database::postgres();
    let url = database.url();
    demo_page_works(&[("DATABASE_URL", &url)], "demo-page-postgres.png");
}

/// Once: which page may connect has nothing to do with the database.
#[test]
fn web_pages_of_other_origins() {
    let mut browser = Client::start(&mut browser_program("cross_origin.mjs"));
    let allowed = browser.wait_for("the allowed origin is ");
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("FRONTEND_URL", &allowed)]);
    browser.say(&gateway.url());
    browser.finish();
}

fn node_tells(script: &str, database: Database) {
    let gateway = Gateway::start(&database);
    Client::start(program("TEST_NODE", script).env("GATEWAY_URL", gateway.url())).finish();
}

fn python_tells(script: &str, database: Database) {
    let gateway = Gateway::start(&database);
    let mut python = program("TEST_PYTHON", script);
    python
        .env("GATEWAY_URL", gateway.url())
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Client::start(&mut python).finish();
}

fn survives_a_restart(database: Database) {
    let mut gateway = Gateway::start(&database);
    let mut node = program("TEST_NODE", "restart.mjs");
    let mut client = Client::start(node.env("GATEWAY_URL", gateway.url()));
    client.wait_for("connected");
    gateway.signal("TERM");
    assert!(gateway.wait().success(), "{}", gateway.log());
    client.wait_for("disconnected");
    let port = gateway.address.port().to_string();
    let _restarted = Gateway::start_with(&database, &[("PORT", &port)]);
    client.finish();
}

/// The demo page, in a folder and on a port of its own. Leaves a picture in `target/`.
fn demo_page_works(environment: &[(&str, &str)], picture: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = command("dev");
    dev.current_dir(&folder)
        .env("PORT", "0")
        .envs(environment.iter().copied());
    let gateway = Gateway::spawn(dev);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut browser = browser_program("demo_page.mjs");
    browser
        .env("GATEWAY_URL", gateway.url())
        .env("SCREENSHOT", target.join(picture));
    Client::start(&mut browser).finish();
}

/// A script of `clients/`, run by the program that this variable names, with the
/// users' tokens.
fn program(variable: &str, script: &str) -> Command {
    let program = env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`"));
    let expired = json!({ "sub": "1", "name": "Ada", "exp": now() - 3600 });
    let mut command = Command::new(program);
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients"))
        .arg(script)
        .env("TOKEN_ADA", token("1", "Ada"))
        .env("TOKEN_GRACE", token("2", "Grace"))
        .env("TOKEN_EXPIRED", sign(&expired));
    command
}

/// A script that drives a browser.
fn browser_program(script: &str) -> Command {
    let browser = env::var_os("TEST_CHROMIUM")
        .unwrap_or_else(|| panic!("TEST_CHROMIUM is not set: run `cargo xtask test`"));
    let mut command = program("TEST_NODE", script);
    command.env("TEST_CHROMIUM", browser);
    command
}

/// A running program. Killed when it is dropped; a browser ends with the program
/// that drives it.
struct Client {
    child: Child,
    lines: Receiver<String>,
    deadline: Instant,
    /// What it has printed, for whoever looks into a failure.
    output: String,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        read_lines(child.stdout.take().unwrap(), sender.clone());
        read_lines(child.stderr.take().unwrap(), sender);
        Self {
            child,
            lines,
            deadline: Instant::now() + DEADLINE,
            output: String::new(),
        }
    }

    /// Waits for a line that begins like this; the rest of it.
    fn wait_for(&mut self, beginning: &str) -> String {
        loop {
            let Some(line) = self.next_line() else {
                panic!("the program ended before it said `{beginning}`");
            };
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    /// Writes a line to its standard input.
    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for its end, which must be a success.
    fn finish(mut self) {
        while self.next_line().is_some() {}
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the program failed: {status}");
    }

    /// The next line that it prints; none when it has closed its output.
    fn next_line(&mut self) -> Option<String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.output += &format!("{line}\n");
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the program is not done after {DEADLINE:?}"),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("the program's output:\n{}", self.output);
        }
    }
}

/// Ends with the program, whose end of the pipe it reads.
fn read_lines(output: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}
