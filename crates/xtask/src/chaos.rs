//! `cargo xtask chaos`: the gateway's fault-injection tests, repeated many times.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::Error;
use crate::help::HELP;
use crate::machine::{is_root, step};
use crate::needs::{install_missing, postgres, python};
use crate::test::{cargo_with, run_to_completion};

/// The default number of rounds of each fault.
const ROUNDS: u32 = 20;

/// Runs the rounds and returns cargo's exit code.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    let Some(rounds) = rounds(arguments) else {
        eprint!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    // Python reads the SQLite files; its packages are not needed.
    install_missing(&[postgres::NEED, python::NEED])?;
    let postgres = postgres::prepare()?;

    let mut cargo = cargo_with(&postgres)?;
    cargo
        .env("CHAOS_ROUNDS", rounds.to_string())
        .args(["test", "-p", "chat-gateway", "--all-features"])
        .args(["--test", "chaos", "--", "--nocapture"])
        // Each fault has the machine to itself, and its output is not interleaved.
        .args(["--test-threads", "1"]);
    if is_root() {
        cargo.arg("--include-ignored");
    } else {
        step("NOT RUN: the tests with a full disk, which mount a file system: run as root");
    }
    step(&format!("chaos, {rounds} rounds of each fault"));
    run_to_completion(cargo)
}

fn rounds(arguments: &[OsString]) -> Option<u32> {
    match arguments {
        [] => Some(ROUNDS),
        [name, rounds] if name == "--rounds" => {
            let rounds = rounds.to_str()?.parse().ok();
            // No rounds prove nothing.
            rounds.filter(|rounds| *rounds > 0)
        }
        _ => None,
    }
}
