//! `cargo xtask mutants`: whether the tests of the domain and of the delivery notice changed
//! code.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::error::Error;
use crate::machine::{run as run_command, step, workspace};
use crate::test::run_to_completion;

/// One version, so that a new release does not find other mutants.
const VERSION: &str = "27.1.0";
/// Enough seeds of the simulation for a changed delivery to be noticed.
const SEEDS: &str = "300";
/// How long the tests of one mutant may take, in seconds.
const TIMEOUT: &str = "120";

/// Changes the code in every way that cargo-mutants knows, runs the tests of each, and
/// returns its exit code: 0 only if each mutant is noticed or is named, with a reason, in
/// `.cargo/mutants.toml`. The arguments are those of cargo-mutants.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    let tools = workspace().join("target/tools");
    install(&tools)?;
    let mut mutants = cargo();
    mutants
        .env("SIMULATION_SEEDS", SEEDS)
        .env("PATH", path_with(&tools.join("bin"))?)
        .args(["mutants", "-p", "chat-domain", "-p", "chat-delivery"])
        .args(["--all-features", "--no-shuffle", "--timeout", TIMEOUT])
        .arg("--output")
        .arg(workspace().join("target/mutants"))
        .args(arguments);
    step("mutants of chat-domain and chat-delivery");
    run_to_completion(mutants)
}

fn install(tools: &Path) -> Result<(), Error> {
    let program = tools.join("bin/cargo-mutants");
    let expected = format!("cargo-mutants {VERSION}");
    let is_installed = |output: &[u8]| output.trim_ascii() == expected.as_bytes();
    let asked = Command::new(&program).arg("--version").output();
    if asked.is_ok_and(|output| is_installed(&output.stdout)) {
        return Ok(());
    }
    step(&format!("cargo install cargo-mutants {VERSION}"));
    let mut install = cargo();
    install
        .args(["install", "cargo-mutants", "--locked", "--force"])
        .args(["--version", VERSION, "--root"])
        .arg(tools);
    run_command(&mut install)
}

fn cargo() -> Command {
    let program = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut cargo = Command::new(program);
    cargo.current_dir(workspace());
    cargo
}

fn path_with(folder: &Path) -> Result<OsString, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&path));
    Ok(env::join_paths(folders)?)
}
