//! `cargo xtask test`: brings what the tests need, runs them, ends what it started.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use chat_test_support::Janitor;

use crate::Error;
use crate::machine::{step, workspace};
use crate::needs::{browser, install_missing, node, postgres, python};

/// Ends with cargo's exit code; `arguments` are cargo's.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    install_missing(&[postgres::NEED, node::NEED, python::NEED, browser::NEED])?;
    let clients = workspace().join("crates/gateway/tests/clients");
    let node = node::prepare(&clients)?;
    let python = python::prepare(&clients)?;
    let browser = browser::prepare()?;
    let postgres = postgres::prepare()?;

    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(
        postgres
            .programs
            .iter()
            .cloned()
            .chain(env::split_paths(&path)),
    )?;
    let mut cargo = cargo_test(arguments);
    cargo
        .env("PATH", path)
        .env("TEST_DATABASE_URL", &postgres.url)
        .env("TEST_NODE", node)
        .env("TEST_PYTHON", python)
        .env("TEST_CHROMIUM", browser);
    step("cargo test");
    // A group of its own, so that whatever ends this process ends cargo, the tests and
    // what they started, without ending whoever called this process.
    let mut tests = cargo.process_group(0).stdin(Stdio::null()).spawn()?;
    let _janitor = Janitor::new("kill -s TERM -- \"-$1\"", [tests.id().to_string()])?;
    let status = tests.wait()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn cargo_test(arguments: &[OsString]) -> Command {
    let program = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut cargo = Command::new(program);
    cargo.current_dir(workspace()).arg("test");
    // cargo tests everything when it is told both.
    if !names_a_package(arguments) {
        cargo.arg("--workspace");
    }
    cargo.arg("--all-features").args(arguments);
    cargo
}

fn names_a_package(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .map_while(|argument| argument.to_str().filter(|text| *text != "--"))
        .any(|text| text.starts_with("-p") || text.starts_with("--package"))
}
