//! `cargo xtask fuzz`: searches for inputs that break a parser.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use crate::error::Error;
use crate::help::HELP;
use crate::machine::{run as run_command, step, workspace};
use crate::needs::{cxx, install_missing};

const SECONDS: u64 = 60;
/// How many targets run at the same time. Each would keep one core busy; more than there are
/// cores share them.
const AT_ONCE: usize = 5;
/// An input that takes longer is a finding. (Alone, none takes a millisecond.)
const INPUT_SECONDS: &str = "10";
/// A process that needs more memory is a finding.
const MEMORY_MIB: &str = "1024";
const MAX_INPUT_BYTES: &str = "4096";

/// Runs the targets for a while and returns whether nothing was found.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    let Some(options) = Options::parse(arguments) else {
        eprint!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    let corpora = workspace().join("crates/fuzz/corpus");
    let targets = options.targets(&corpora)?;
    install_missing(&[cxx::NEED])?;
    let program = build()?;
    let mut has_found = false;
    for targets in targets.chunks(AT_ONCE) {
        let started: Result<Vec<_>, _> = targets
            .iter()
            .map(|target| Running::start(&program, &corpora, target, options.seconds))
            .collect();
        for running in started? {
            has_found |= !running.finish()?;
        }
    }
    Ok(match has_found {
        false => ExitCode::SUCCESS,
        true => ExitCode::FAILURE,
    })
}

/// Builds the targets. Only the packages of the workspace are compiled anew, with coverage.
fn build() -> Result<PathBuf, Error> {
    step("cargo build, the fuzz targets");
    let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let wrapper = workspace().join("crates/fuzz/rustc-with-coverage");
    run_command(
        Command::new(cargo)
            .current_dir(workspace())
            .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
            .args(["build", "--quiet", "--package", "chat-fuzz"]),
    )?;
    // The next build of the workspace replaces the program.
    let program = workspace().join("target/fuzz/chat-fuzz");
    fs::create_dir_all(workspace().join("target/fuzz"))?;
    fs::copy(workspace().join("target/debug/chat-fuzz"), &program)?;
    Ok(program)
}

/// A target that runs.
struct Running<'a> {
    target: &'a str,
    folder: PathBuf,
    process: Child,
}

impl<'a> Running<'a> {
    /// Starts a target. What it finds is in `target/fuzz/NAME/`: inputs that reach more code
    /// in `corpus/`, which the next run begins with, and the input that breaks something
    /// beside it.
    fn start(program: &Path, corpora: &Path, target: &'a str, seconds: u64) -> Result<Self, Error> {
        step(&format!("fuzz {target}, {seconds} s"));
        let folder = workspace().join("target/fuzz").join(target);
        fs::create_dir_all(folder.join("corpus"))?;
        let log = File::create(folder.join("log"))?;
        let process = Command::new(program)
            .env("FUZZ_TARGET", target)
            .arg(folder.join("corpus"))
            .arg(corpora.join(target))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={INPUT_SECONDS}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
            .arg(format!("-max_len={MAX_INPUT_BYTES}"))
            .arg(format!("-artifact_prefix={}/", folder.display()))
            .arg("-print_final_stats=1")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Self {
            target,
            folder,
            process,
        })
    }

    /// Waits until the target has run, prints what it did, and returns whether it found
    /// nothing.
    fn finish(mut self) -> Result<bool, Error> {
        let status = self.process.wait()?;
        let log = fs::read_to_string(self.folder.join("log"))?;
        if status.success() {
            println!("{}: {}, nothing found", self.target, figures(&log));
            return Ok(true);
        }
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(60)..];
        println!("{}\n{}: found an input", last.join("\n"), self.target);
        println!("The input is in {}; add it to", self.folder.display());
        println!(
            "crates/fuzz/corpus/{}, where every test run tries it.",
            self.target
        );
        Ok(false)
    }
}

/// Returns the number of executions and of what the inputs reach, from libFuzzer's log.
fn figures(log: &str) -> String {
    let executions = log
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let reached = log.lines().rev().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "cov:");
        words.nth(1)
    });
    let number = |found: Option<&str>| found.map_or("?", str::trim).to_owned();
    let (executions, reached) = (number(executions), number(reached));
    format!("{executions} executions, {reached} places in the code reached")
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    seconds: u64,
    target: Option<String>,
}

impl Options {
    /// Reads `--seconds N` and `--target NAME`.
    fn parse(arguments: &[OsString]) -> Option<Self> {
        let mut options = Self {
            seconds: SECONDS,
            target: None,
        };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return None };
            let value = value.to_str()?;
            match name.to_str()? {
                "--seconds" => {
                    // libFuzzer takes 0 for no limit.
                    options.seconds = value.parse().ok().filter(|seconds| *seconds > 0)?;
                }
                "--target" => options.target = Some(value.to_owned()),
                _ => return None,
            }
        }
        Some(options)
    }

    /// Returns the names of the targets to run: every corpus has one.
    fn targets(&self, corpora: &Path) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for folder in fs::read_dir(corpora)? {
            names.push(folder?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        match &self.target {
            None => Ok(names),
            Some(target) if names.contains(target) => Ok(vec![target.clone()]),
            Some(target) => {
                let names = names.join(", ");
                Err(format!("{target} is not a fuzz target; there are {names}").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_limited_in_time() {
        let parsed = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            Options::parse(&arguments).map(|options| (options.seconds, options.target))
        };
        assert_eq!(parsed(&[]), Some((SECONDS, None)));
        let tokens = Some("tokens".to_owned());
        assert_eq!(
            parsed(&["--target", "tokens", "--seconds", "5"]),
            Some((5, tokens))
        );
        for wrong in [&["--seconds", "0"][..], &["--seconds"], &["--rounds", "1"]] {
            assert_eq!(parsed(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_figures_are_those_of_the_last_line() {
        let log = "#2\tINITED cov: 5 ft: 6\n#99\tDONE   cov: 41 ft: 90 corp: 7/70b\n\
                   stat::number_of_executed_units: 99\n";
        assert_eq!(figures(log), "99 executions, 41 places in the code reached");
    }
}
