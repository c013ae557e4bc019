//! `cargo xtask bench --micro`: counts the instructions of the hot code paths with callgrind,
//! and compares them with the committed figures.
//!
//! In contrast to a time, a number of instructions is the same on a busy machine. callgrind
//! simulates one kind of processor, so that it is also nearly the same on any other machine.

mod callgrind;
mod figures;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use serde_json::Value;

use self::figures::{Comparison, Figures};
use super::cargo;
use crate::error::Error;
use crate::machine::{step, workspace};
use crate::needs::valgrind;

/// The committed figures, beside the program that runs the pieces.
const FIGURES: &str = "crates/gateway/benches/instructions/figures.toml";
/// The processors that the committed figures are for.
const ARCHITECTURE: &str = "x86_64";

/// Counts all pieces. Fails if one has become more expensive than the committed figures
/// allow, or is only on one side.
pub(super) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    let is_update = match arguments {
        [] => false,
        [argument] if argument == "--update" => true,
        _ => return Err("--micro takes no argument but --update: see cargo xtask help".into()),
    };
    if std::env::consts::ARCH != ARCHITECTURE {
        return Err(format!("the committed figures are for {ARCHITECTURE}").into());
    }
    let valgrind = valgrind::prepare()?;
    let program = build()?;
    step("callgrind");
    let now = callgrind::count(&valgrind, &program)?;
    let file = workspace().join(FIGURES);
    if is_update {
        fs::write(&file, now.to_string())?;
        step(&format!("written: {FIGURES}"));
        return Ok(ExitCode::SUCCESS);
    }
    let committed = fs::read_to_string(&file).map_err(|error| format!("{FIGURES}: {error}"))?;
    let committed = Figures::parse(&committed).map_err(|error| format!("{FIGURES}: {error}"))?;
    let comparison = Comparison::new(&committed, &now);
    print!("{}", comparison.table());
    for hint in comparison.hints() {
        step(&hint);
    }
    let failures = comparison.failures();
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!(
        "the instructions differ from {FIGURES}:\n{}\nIf this is intended, commit what `cargo \
         xtask bench --micro --update` writes.",
        failures.join("\n")
    )
    .into())
}

/// Builds the program that runs the pieces, and returns it.
fn build() -> Result<PathBuf, Error> {
    step("cargo bench --no-run --profile instructions --bench instructions");
    let output = cargo("bench")
        .args(["--no-run", "--profile", "instructions"])
        .args(["--package", "chat-gateway", "--bench", "instructions"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the pieces cannot be built".into());
    }
    let messages = String::from_utf8(output.stdout)?;
    let program = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_ours = message["target"]["name"] == "instructions";
        message["executable"]
            .as_str()
            .filter(|_| is_ours)
            .map(PathBuf::from)
    });
    program.ok_or_else(|| "cargo names no program".into())
}
