//! What is deployed, and how: the release, the systemd unit, the manifests and the workflows,
//! with the gateway's binary that the tests use.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compose;
mod kubernetes;
mod machine;
mod package;
mod service;
mod systemd;
mod unit;
mod workflows;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use chat_test_support::run;
use serde_json::Value;

/// How long a program may take.
const DEADLINE: Duration = Duration::from_secs(120);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the gateway's binary.
fn gateway() -> PathBuf {
    let gateway = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("chat-gateway");
    assert!(
        gateway.exists(),
        "{} does not exist: cargo build -p chat-gateway makes it",
        gateway.display()
    );
    gateway
}

/// Returns the program that `cargo xtask test` has found, or says what is not tested without it, as
/// `cargo xtask test` also does where it is seen.
fn found(variable: &str) -> Option<PathBuf> {
    let program = env::var_os(variable).map(PathBuf::from);
    if program.is_none() {
        eprintln!("NOT RUN: {variable} is not set: run cargo xtask test");
    }
    program
}

/// Runs a program, which must succeed, and returns what it printed.
fn output_of(command: &mut Command) -> String {
    let output = run(command, DEADLINE).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}

/// Compares files with a schema and returns the differences, one per line.
fn differences(kind: &str, files: &[PathBuf]) -> String {
    let output = validate(kind, files);
    let text = String::from_utf8(output.stderr).unwrap().trim().to_owned();
    assert_eq!(output.status.success(), text.is_empty(), "{text}");
    text
}

/// Reads all documents of YAML files.
fn read_yaml(files: &[PathBuf]) -> Vec<Value> {
    let output = validate("json", files);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn validate(kind: &str, files: &[PathBuf]) -> Output {
    let python = env::var_os("TEST_PYTHON");
    let python = python.expect("TEST_PYTHON is not set: run cargo xtask test");
    let script = workspace().join("crates/xtask/tests/deployment/validate.py");
    run(
        Command::new(python).arg(script).arg(kind).args(files),
        DEADLINE,
    )
    .unwrap()
}

/// Writes a file, changed in one place, and returns the copy: a check must notice it.
fn changed(folder: &Path, file: &Path, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{}: {from}", file.display());
    let copy = folder.join(file.file_name().unwrap());
    std::fs::write(&copy, text.replacen(from, to, 1)).unwrap();
    copy
}
