//! `cargo xtask simulate`: many seeds of the simulation of delivery, and its controls.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::error::Error;
use crate::help::HELP;
use crate::machine::{step, workspace};
use crate::test::run_to_completion;

/// The default number of seeds.
const SEEDS: u64 = 100_000;

/// Runs the seeds, then the controls, and returns cargo's exit code.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    let Some((seeds, first)) = parse(arguments) else {
        eprint!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    step(&format!("simulate, {seeds} seeds from {first} on"));
    let mut simulation = cargo(&["-p", "chat-delivery", "--test", "simulation"]);
    simulation
        .env("SIMULATION_SEEDS", seeds.to_string())
        .env("SIMULATION_FIRST", first.to_string());
    let outcome = run_to_completion(simulation)?;
    if outcome != ExitCode::SUCCESS {
        return Ok(outcome);
    }
    step("simulate, the controls: every planted bug must be found");
    run_to_completion(cargo(&["-p", "chat-delivery-controls"]))
}

fn cargo(arguments: &[&str]) -> Command {
    let program = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut cargo = Command::new(program);
    cargo
        .current_dir(workspace())
        .args(["test", "--release"])
        .args(arguments)
        .args(["--", "--nocapture"]);
    cargo
}

/// Reads `--seeds N` and `--first N`.
fn parse(arguments: &[OsString]) -> Option<(u64, u64)> {
    let (mut seeds, mut first) = (SEEDS, 1);
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        let value: u64 = value.to_str()?.parse().ok().filter(|value| *value > 0)?;
        match name.to_str()? {
            "--seeds" => seeds = value,
            "--first" => first = value,
            _ => return None,
        }
    }
    Some((seeds, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_at_least_one() {
        let parsed = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            parse(&arguments)
        };
        assert_eq!(parsed(&[]), Some((SEEDS, 1)));
        assert_eq!(parsed(&["--seeds", "7", "--first", "3"]), Some((7, 3)));
        for wrong in [&["--seeds", "0"][..], &["--seeds"], &["--rounds", "1"]] {
            assert_eq!(parsed(wrong), None, "{wrong:?}");
        }
    }
}
