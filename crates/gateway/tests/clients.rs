//! The standard clients against the gateway's binary, on both databases: npm's
//! socket.io-client, PyPI's python-socketio, and the demo page in a browser.
//!
//! Each program in `clients/` is one scenario. The tests here start the gateway and run the
//! program, and show its output if it fails.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::env;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use serde_json::json;

use support::{Database, Gateway, command, now, sign, token};

/// How long a program may run.
const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn socket_io_client_works_on_sqlite() {
    run_node("conversation.mjs", Database::sqlite());
}

#[test]
fn socket_io_client_works_on_postgres() {
    run_node("conversation.mjs", Database::postgres());
}

#[test]
fn socket_io_client_authenticates_on_sqlite() {
    run_node("handshake.mjs", Database::sqlite());
}

#[test]
fn socket_io_client_authenticates_on_postgres() {
    run_node("handshake.mjs", Database::postgres());
}

#[test]
fn socket_io_client_reconnects_after_a_restart_on_sqlite() {
    reconnects_after_a_restart(Database::sqlite());
}

#[test]
fn socket_io_client_reconnects_after_a_restart_on_postgres() {
    reconnects_after_a_restart(Database::postgres());
}

#[test]
fn python_asyncio_client_works_on_sqlite() {
    run_python("conversation_asyncio.py", Database::sqlite());
}

#[test]
fn python_asyncio_client_works_on_postgres() {
    run_python("conversation_asyncio.py", Database::postgres());
}

#[test]
fn python_threaded_client_works_on_sqlite() {
    run_python("conversation_threads.py", Database::sqlite());
}

#[test]
fn python_threaded_client_works_on_postgres() {
    run_python("conversation_threads.py", Database::postgres());
}

/// `dev` runs without any configuration, as for a new user.
#[test]
fn demo_page_works_on_sqlite() {
    run_demo_page(&[], "demo-page.png");
}

#[test]
fn demo_page_works_on_postgres() {
    let database = Database::postgres();
    let url = database.url();
    run_demo_page(&[("DATABASE_URL", &url)], "demo-page-postgres.png");
}

/// Runs on one database only, because the origin check does not depend on it.
#[test]
fn web_pages_connect_from_allowed_origins_only() {
    let mut browser = Client::start(&mut browser_program("cross_origin.mjs"));
    let allowed = browser.wait_for("the allowed origin is ");
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("FRONTEND_URL", &allowed)]);
    browser.write_line(&gateway.url());
    browser.finish();
}

fn run_node(script: &str, database: Database) {
    let gateway = Gateway::start(&database);
    Client::start(program("TEST_NODE", script).env("GATEWAY_URL", gateway.url())).finish();
}

fn run_python(script: &str, database: Database) {
    let gateway = Gateway::start(&database);
    let mut python = program("TEST_PYTHON", script);
    python
        .env("GATEWAY_URL", gateway.url())
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Client::start(&mut python).finish();
}

fn reconnects_after_a_restart(database: Database) {
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

/// Runs `dev` in a new folder on a free port and drives its page in a browser, which saves a
/// screenshot in `target/`.
fn run_demo_page(environment: &[(&str, &str)], screenshot: &str) {
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
        .env("SCREENSHOT", target.join(screenshot));
    Client::start(&mut browser).finish();
}

/// Returns a command that runs a script of `clients/` with the program that this environment
/// variable names. The script receives the users' tokens.
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

/// Returns a command that runs a script which drives a browser.
fn browser_program(script: &str) -> Command {
    let browser = env::var_os("TEST_CHROMIUM")
        .unwrap_or_else(|| panic!("TEST_CHROMIUM is not set: run `cargo xtask test`"));
    let mut command = program("TEST_NODE", script);
    command.env("TEST_CHROMIUM", browser);
    command
}

/// A running program. Killed when it is dropped; a browser ends together with the program
/// that drives it.
struct Client {
    child: Child,
    lines: Receiver<String>,
    deadline: Instant,
    /// Everything that it has printed, to show if the test fails.
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

    /// Waits for a line with this prefix and returns the rest of it.
    fn wait_for(&mut self, prefix: &str) -> String {
        loop {
            let Some(line) = self.next_line() else {
                panic!("the program ended before it printed `{prefix}`");
            };
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }

    /// Writes a line to its standard input.
    fn write_line(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until the program ends, which must be with success.
    fn finish(mut self) {
        while self.next_line().is_some() {}
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the program failed: {status}");
    }

    /// Waits for the next line that the program prints, or `None` at the end of its output.
    fn next_line(&mut self) -> Option<String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.output += &format!("{line}\n");
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the program still runs after {DEADLINE:?}"),
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

/// Forwards lines in a thread, which ends when the program closes its output.
fn read_lines(output: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}
