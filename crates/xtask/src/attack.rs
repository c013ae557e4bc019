//! `cargo xtask attack`: the gateway's attack tests at their full size, with the latency of the
//! honest clients beside them.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::Error;
use crate::help::HELP;
use crate::machine::step;
use crate::needs::{install_missing, postgres, python, redis};
use crate::test::{cargo_with, run_to_completion};

/// Runs the attacks whose names contain one of the arguments, or all of them.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    if arguments.iter().any(is_flag) {
        eprint!("{HELP}");
        return Ok(ExitCode::from(2));
    }
    install_missing(&[postgres::NEED, redis::NEED, python::NEED])?;
    let postgres = postgres::prepare()?;
    let redis = redis::prepare()?;
    let mut cargo = cargo_with(&postgres, &redis)?;
    cargo
        .env("ATTACK_FULL", "1")
        .args(["test", "--release", "-p", "chat-gateway"])
        .args(["--test", "attacks", "--", "--nocapture"])
        // Each attack has the machine to itself.
        .args(["--test-threads", "1"])
        .args(arguments);
    step(
        "attacks, one row each: the latency of the honest pair is counted from when a message was due",
    );
    println!(
        "| attack | seconds | messages | p99 before, ms | p99, ms | ratio | memory before, KiB | \
         peak | after | files after |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    run_to_completion(cargo)
}

fn is_flag(argument: &OsString) -> bool {
    argument.to_string_lossy().starts_with('-')
}
