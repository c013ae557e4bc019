//! `cargo xtask dist`: the files of a release, in `target/dist/`.
//!
//! The same commit, toolchain and binary give the same bytes: times are the commit's, owners are
//! root, and lists are sorted.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::error::Error;
use crate::help::HELP;
use crate::machine::{run as run_command, step, workspace};

mod archive;
mod binary;
mod bom;
mod debian;
mod libraries;
mod options;
mod target;

use self::options::Options;
use self::target::Target;

/// What is made of one binary.
struct Release {
    /// The version, as Cargo writes it.
    version: String,
    target: Target,
    /// The binary without debugging symbols.
    binary: PathBuf,
    /// The modification time of every file, in seconds since 1970.
    time: String,
    compression: Compression,
    /// Where the files of the release are written.
    output: PathBuf,
    /// Where packages are put together. Removed at the end.
    scratch: PathBuf,
}

/// How much time the packages are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    /// For trying packages out.
    Fast,
    Best,
}

/// Builds the gateway, unless a binary is given, and writes the files of its release.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("xtask: {error}\n");
            eprint!("{HELP}");
            return Ok(ExitCode::from(2));
        }
    };
    let target = Target::named(options.target.as_deref())?;
    let time = commit_time()?;
    let built = match options.binary {
        Some(binary) => binary,
        None => binary::build(options.profile, &target, &time)?,
    };

    let output = match options.output {
        Some(folder) if fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some()) => {
            return Err(format!("{} is not empty", folder.display()).into());
        }
        Some(folder) => folder,
        None => {
            // Files of an earlier version do not belong to this release.
            let folder = workspace().join("target/dist");
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            folder
        }
    };
    let scratch = output.join("scratch");
    fs::create_dir_all(&scratch)?;
    let release = Release {
        version: match options.version {
            Some(version) => version,
            None => cargo_version()?,
        },
        binary: binary::strip(&built, &target, &scratch)?,
        target,
        time,
        compression: options.profile.compression(),
        output,
        scratch,
    };
    let mut files = vec![
        archive::write(&release)?,
        debian::write(&release)?,
        bom::write(&release)?,
    ];
    fs::remove_dir_all(&release.scratch)?;
    files.sort_unstable();
    write_checksums(&release, &files)?;
    for file in files {
        let size = fs::metadata(release.output.join(&file))?.len();
        step(&format!(
            "{} ({size} bytes)",
            release.output.join(file).display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes `SHA256SUMS`, which `sha256sum --check` reads.
fn write_checksums(release: &Release, files: &[String]) -> Result<(), Error> {
    let sums = output_of(
        Command::new("sha256sum")
            .args(files)
            .current_dir(&release.output),
    )?;
    fs::write(release.output.join("SHA256SUMS"), sums)?;
    Ok(())
}

/// Returns `SOURCE_DATE_EPOCH`, or the time of the commit.
fn commit_time() -> Result<String, Error> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return match time.parse::<u64>() {
            Ok(_) => Ok(time),
            Err(_) => Err(format!("SOURCE_DATE_EPOCH must be seconds, not \"{time}\"").into()),
        };
    }
    let asked = output_of(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(workspace()),
    );
    let time = asked.map_err(|error| {
        format!("the time of the commit is not known: {error}: set SOURCE_DATE_EPOCH")
    })?;
    Ok(time.trim().to_owned())
}

/// Returns the workspace's version.
fn cargo_version() -> Result<String, Error> {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml"))?;
    manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .ok_or_else(|| "Cargo.toml has no version".into())
}

/// Runs a program and returns its standard output.
fn output_of(command: &mut Command) -> Result<String, Error> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{command:?} failed with {}: {}",
            output.status,
            error.trim()
        )
        .into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Copies a file of the workspace into a tree of a package, with this mode.
fn install(from: &Path, to: &Path, mode: &str) -> Result<(), Error> {
    run_command(
        Command::new("install")
            .args(["-D", "--mode", mode])
            .arg(from)
            .arg(to),
    )
}
