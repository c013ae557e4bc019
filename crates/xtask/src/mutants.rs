//! `cargo xtask mutants`: whether the tests of the domain and of the delivery notice changed
//! code.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::error::Error;
use crate::machine::{run as run_command, step, workspace};
use crate::test::run_to_completion;

/// The version is pinned, so that a new release does not find other mutants.
const VERSION: &str = "27.1.0";
/// Enough seeds of the simulation for a changed delivery to be noticed.
const SEEDS: &str = "300";
/// How long the tests of one mutant may take, in seconds. They take a tenth of it, or hang.
const TIMEOUT: &str = "120";

/// The exit code of cargo-mutants if a mutant survived.
const SURVIVED: u8 = 2;
/// Its exit code if the tests of a mutant took too long, whatever became of the others.
const TIMED_OUT: u8 = 3;

/// Changes the code in every way that cargo-mutants knows, runs the tests of each, and
/// returns its exit code: 0 only if each mutant is noticed or is named, with a reason, in
/// `.cargo/mutants.toml`. Tests that hang have noticed their mutant. The arguments are those
/// of cargo-mutants.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    let program = install(&workspace().join("target/tools"))?;
    let output = workspace().join("target/mutants");
    let mut mutants = Command::new(program);
    mutants
        .current_dir(workspace())
        .env("SIMULATION_SEEDS", SEEDS)
        .args(["mutants", "-p", "chat-domain", "-p", "chat-delivery"])
        .args(["--all-features", "--no-shuffle", "--timeout", TIMEOUT])
        .arg("--output")
        .arg(&output)
        .args(arguments);
    step("mutants of chat-domain and chat-delivery");
    let code = run_to_completion(mutants)?;
    if code != ExitCode::from(TIMED_OUT) {
        return Ok(code);
    }
    verdict_after_timeouts(&output.join("mutants.out"))
}

/// Returns the exit code of a run in which tests hung: it depends on the other mutants.
fn verdict_after_timeouts(results: &Path) -> Result<ExitCode, Error> {
    let missed = fs::read_to_string(results.join("missed.txt"))?;
    Ok(match missed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(SURVIVED),
    })
}

/// Installs cargo-mutants in this folder, unless it is there, and returns the program.
fn install(tools: &Path) -> Result<PathBuf, Error> {
    let program = tools.join("bin/cargo-mutants");
    let expected = format!("cargo-mutants {VERSION}");
    let is_installed = |output: &[u8]| output.trim_ascii() == expected.as_bytes();
    let asked = Command::new(&program)
        .args(["mutants", "--version"])
        .output();
    if asked.is_ok_and(|output| is_installed(&output.stdout)) {
        return Ok(program);
    }
    step(&format!("cargo install cargo-mutants {VERSION}"));
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut install = Command::new(cargo);
    install
        .current_dir(workspace())
        .args(["install", "cargo-mutants", "--locked", "--force"])
        .args(["--version", VERSION, "--root"])
        .arg(tools);
    run_command(&mut install)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_survives_beside_one_that_hangs_is_a_failure() {
        let results = env::temp_dir().join(format!("mutants-{}", std::process::id()));
        fs::create_dir_all(&results).unwrap();
        for (missed, expected) in [("", 0), ("src/ids.rs:7:39: replace - with +\n", SURVIVED)] {
            fs::write(results.join("missed.txt"), missed).unwrap();
            let code = verdict_after_timeouts(&results).unwrap();
            assert_eq!(code, ExitCode::from(expected), "{missed}");
        }
        fs::remove_dir_all(&results).unwrap();
    }
}
