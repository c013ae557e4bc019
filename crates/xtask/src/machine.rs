//! The machine that the commands run on: its programs, the workspace's folders, and the
//! progress line.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

/// Prints the current step to standard error, so that a long wait explains itself.
pub(crate) fn step(text: &str) {
    eprintln!("xtask: {text}");
}

/// Returns the workspace's root.
pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

/// Returns the folder for files that the commands create for the tests. Git ignores it,
/// and `cargo clean` removes it.
pub(crate) fn test_tools() -> PathBuf {
    workspace().join("target/test-tools")
}

/// Returns the first program with this name on `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

pub(crate) fn is_root() -> bool {
    let user = Command::new("id").arg("-u").output();
    user.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Runs a command without showing its output and returns whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs a command and shows its output.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let status = command
        .status()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed with {status}").into())
}
