//! The standard clients against the gateway's binary, on both databases: npm's
//! socket.io-client, PyPI's python-socketio, and the demo page in a browser; and behind nginx.
//! And clients of other makes and ages, on one of them.
//!
//! Each program in `clients/` is one scenario. The tests here start the gateway and run the
//! program, and show its output if it fails. The server API is tested here as well: against its
//! description, and as the example backend uses it. So is the TypeScript client: with its own
//! tests, as a package, and under faults.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "clients/access_hook.rs"]
mod access_hook;
#[path = "clients/behind_nginx.rs"]
mod behind_nginx;
#[path = "clients/demo_build.rs"]
mod demo_build;
#[path = "clients/example_backend.rs"]
mod example_backend;
#[path = "clients/example_push.rs"]
mod example_push;
#[path = "clients/first_requests.rs"]
mod first_requests;
#[path = "clients/screen.rs"]
mod screen;
#[path = "clients/server_api.rs"]
mod server_api;
#[path = "clients/slack_import.rs"]
mod slack_import;
mod support;
#[path = "clients/typescript.rs"]
mod typescript;
#[path = "clients/webhooks.rs"]
mod webhooks;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chat_test_support::{ChildProcess, run};
use serde_json::json;

use support::{Database, Gateway, command, now, sign, token};

/// How long a program may take until it prints what a test waits for, or ends.
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

#[test]
fn socket_io_clients_from_version_3_on_work_and_older_ones_are_refused() {
    run_node("versions.mjs", Database::sqlite());
}

#[test]
fn a_rust_client_works() {
    let database = Database::sqlite();
    let gateway = Gateway::start(&database);
    let mut client = with_tokens(Command::new(provided("TEST_RUST_CLIENT")));
    client.env("GATEWAY_URL", gateway.url());
    finish(ChildProcess::start(&mut client).unwrap());
}

/// `dev` runs without any configuration, as for a new user.
#[test]
fn demo_page_works_on_sqlite() {
    run_demo_page("demo_page.mjs", &[], "demo-page");
}

#[test]
fn demo_page_works_on_postgres() {
    let database = Database::postgres();
    let url = database.url();
    let environment = [("DATABASE_URL", url.as_str())];
    run_demo_page("demo_page.mjs", &environment, "demo-page-postgres");
}

#[test]
fn demo_page_shows_rooms_with_rules_on_sqlite() {
    run_demo_page("demo_rules.mjs", &[], "demo-page");
}

#[test]
fn demo_page_shows_rooms_with_rules_on_postgres() {
    let database = Database::postgres();
    let url = database.url();
    let environment = [("DATABASE_URL", url.as_str())];
    run_demo_page("demo_rules.mjs", &environment, "demo-page-postgres");
}

#[test]
fn demo_page_shows_changes_on_sqlite() {
    run_demo_page("demo_changes.mjs", &[], "demo-page");
}

#[test]
fn demo_page_shows_changes_on_postgres() {
    let database = Database::postgres();
    let url = database.url();
    let environment = [("DATABASE_URL", url.as_str())];
    run_demo_page("demo_changes.mjs", &environment, "demo-page-postgres");
}

#[test]
fn demo_page_can_be_used_with_the_keyboard_alone() {
    run_demo_page("demo_keyboard.mjs", &[], "demo-page-keyboard");
}

#[test]
fn demo_page_is_accessible_in_light() {
    run_demo_page("demo_accessibility.mjs light", &[], "demo-page");
}

#[test]
fn demo_page_is_accessible_in_dark() {
    run_demo_page("demo_accessibility.mjs dark", &[], "demo-page");
}

/// Runs on one database only, because the origin check does not depend on it.
#[test]
fn web_pages_connect_from_allowed_origins_only() {
    let mut browser = ChildProcess::start(&mut browser_program("cross_origin.mjs")).unwrap();
    let allowed = browser.next_line_with("the allowed origin is ", DEADLINE);
    let allowed = allowed.unwrap();
    let database = Database::sqlite();
    let gateway = Gateway::start_with(&database, &[("FRONTEND_URL", &allowed)]);
    browser.write_line(&gateway.url()).unwrap();
    finish(browser);
}

fn run_node(script: &str, database: Database) {
    let gateway = Gateway::start(&database);
    let mut node = program("TEST_NODE", script);
    node.env("GATEWAY_URL", gateway.url());
    finish(ChildProcess::start(&mut node).unwrap());
}

fn run_python(script: &str, database: Database) {
    let gateway = Gateway::start(&database);
    let mut python = program("TEST_PYTHON", script);
    python
        .env("GATEWAY_URL", gateway.url())
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    finish(ChildProcess::start(&mut python).unwrap());
}

fn reconnects_after_a_restart(database: Database) {
    let mut gateway = Gateway::start(&database);
    let mut node = program("TEST_NODE", "restart.mjs");
    let mut client = ChildProcess::start(node.env("GATEWAY_URL", gateway.url())).unwrap();
    client.next_line_with("connected", DEADLINE).unwrap();
    gateway.signal("TERM");
    assert!(gateway.wait().success(), "{}", gateway.log());
    client.next_line_with("disconnected", DEADLINE).unwrap();
    let port = gateway.address.port().to_string();
    let _restarted = Gateway::start_with(&database, &[("PORT", &port)]);
    finish(client);
}

/// Runs `dev` in a new folder on a free port and drives its page in a browser, which saves
/// screenshots in `target/` whose names begin like this.
fn run_demo_page(script: &str, environment: &[(&str, &str)], screenshots: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = command("dev");
    dev.current_dir(&folder)
        .env("PORT", "0")
        .envs(environment.iter().copied());
    let gateway = Gateway::spawn(dev);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut browser = browser_program(script);
    browser
        .env("GATEWAY_URL", gateway.url())
        .env("SCREENSHOTS", target.join(screenshots));
    finish(ChildProcess::start(&mut browser).unwrap());
}

/// Returns the folder of the scripts.
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Returns a command that runs a script of `clients/`, with its arguments after it, in the program
/// that this environment variable names. The script receives the users' tokens.
fn program(variable: &str, script: &str) -> Command {
    let mut command = with_tokens(Command::new(provided(variable)));
    command
        .current_dir(clients())
        .args(script.split_whitespace());
    command
}

fn with_tokens(mut command: Command) -> Command {
    let expired = json!({ "sub": "1", "name": "Ada", "exp": now() - 3600 });
    command
        .env("TOKEN_ADA", token("1", "Ada"))
        .env("TOKEN_GRACE", token("2", "Grace"))
        .env("TOKEN_EXPIRED", sign(&expired));
    command
}

/// Returns the program that `cargo xtask test` provides in this environment variable.
fn provided(variable: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`"))
}

/// Runs Node.js with these arguments in the folder that `cargo xtask test` provides in a variable.
/// Shows its output if it fails.
fn node_succeeds(folder: &str, arguments: &[impl AsRef<OsStr>]) {
    // The unit tests of the TypeScript client compute for half a minute, beside other tests.
    let deadline = Duration::from_secs(300);
    let mut node = Command::new(provided("TEST_NODE"));
    node.current_dir(provided(folder))
        .env("NO_COLOR", "1")
        .args(arguments);
    let output = run(&mut node, deadline).unwrap();
    assert!(
        output.status.success(),
        "{node:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// Returns a command that runs a script which drives a browser.
fn browser_program(script: &str) -> Command {
    let mut command = program("TEST_NODE", script);
    command.env("TEST_CHROMIUM", provided("TEST_CHROMIUM"));
    command
}

/// Waits until the program ends, which must be with success.
fn finish(mut program: ChildProcess) {
    let status = program.wait(DEADLINE).unwrap();
    assert!(status.success(), "the program failed: {status}");
}
