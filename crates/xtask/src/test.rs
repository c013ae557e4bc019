//! `cargo xtask test`: provides what the tests need, runs them, and stops what it started.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread::available_parallelism;

use chat_test_support::Janitor;

use crate::error::Error;
use crate::machine::{step, workspace};
use crate::needs::{
    browser, cxx, install_missing, nginx, node, postgres, promtool, python, redis, rust_client,
    systemd, valgrind,
};

/// How many tests a test binary runs at the same time.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// Returns twice the number of cores: most tests wait for a gateway more than they compute.
fn test_threads() -> usize {
    2 * available_parallelism().map_or(1, usize::from)
}

/// Runs `cargo test` with these arguments and returns its exit code.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    install_needs()?;
    let clients = workspace().join("crates/gateway/tests/clients");
    let typescript_client = workspace().join("clients/typescript");
    let demo_page = workspace().join("clients/demo");
    let node = node::prepare(&[&clients, &typescript_client, &demo_page])?;
    let python = python::prepare(&clients)?;
    let browser = browser::prepare()?;
    let nginx = nginx::prepare()?;
    let promtool = promtool::prepare()?;
    let rust_client = rust_client::prepare(&clients)?;
    let postgres = postgres::prepare()?;
    let redis = redis::prepare()?;

    let mut cargo = cargo_with(&postgres, &redis)?;
    cargo
        .env("TEST_NODE", node)
        .env("TEST_PYTHON", python)
        .env("TEST_CHROMIUM", browser)
        .env("TEST_NGINX", nginx)
        .env("TEST_PROMTOOL", promtool)
        .env("TEST_RUST_CLIENT", rust_client)
        .env("TEST_TYPESCRIPT_CLIENT", typescript_client)
        .env("TEST_DEMO_PAGE", demo_page)
        .arg("test");
    systemd::prepare(&mut cargo);
    // The user's own value takes precedence, and so does `--test-threads`.
    if env::var_os(THREADS_VARIABLE).is_none() {
        cargo.env(THREADS_VARIABLE, test_threads().to_string());
    }
    // With both, cargo tests the whole workspace.
    if !selects_a_package(arguments) {
        cargo.arg("--workspace");
    }
    cargo.arg("--all-features").args(arguments);
    step("cargo test");
    run_to_completion(cargo)
}

/// Installs what building and running the tests needs, if permitted, and what counting
/// instructions needs: `.ci/run` does both at the same time, and one installation waits for no other.
pub(crate) fn install_needs() -> Result<(), Error> {
    install_missing(&[
        postgres::NEED,
        redis::NEED,
        node::NEED,
        python::NEED,
        browser::NEED,
        nginx::NEED,
        promtool::NEED,
        rust_client::NEED,
        systemd::NEED,
        cxx::NEED,
        valgrind::NEED,
    ])
}

/// Returns a cargo command whose tests use these servers.
pub(crate) fn cargo_with(
    postgres: &postgres::Server,
    redis: &redis::Server,
) -> Result<Command, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(
        postgres
            .programs
            .iter()
            .cloned()
            .chain(env::split_paths(&path)),
    )?;
    let program = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut cargo = Command::new(program);
    cargo
        .current_dir(workspace())
        .env("PATH", path)
        .env("TEST_DATABASE_URL", &postgres.url)
        .env("TEST_REDIS_URL", &redis.url);
    Ok(cargo)
}

/// Runs tests and returns cargo's exit code.
pub(crate) fn run_to_completion(mut cargo: Command) -> Result<ExitCode, Error> {
    // In its own process group, so that the janitor can end cargo, the tests and all that
    // they started, without ending the caller of this process.
    let mut tests = cargo.process_group(0).stdin(Stdio::null()).spawn()?;
    let _janitor = Janitor::new("kill -s TERM -- \"-$1\"", [tests.id().to_string()])?;
    let status = tests.wait()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn selects_a_package(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .map_while(|argument| argument.to_str().filter(|text| *text != "--"))
        .any(|text| text.starts_with("-p") || text.starts_with("--package"))
}
