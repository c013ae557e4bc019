//! This machine as the commands see it: its programs, the workspace's folders, and the
//! line that says what happens now.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Says on standard error what is being done, so that a wait explains itself.
pub(crate) fn step(text: &str) {
    eprintln!("xtask: {text}");
}

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

/// Where the commands keep what they make for the tests: ignored by git, removed by
/// `cargo clean`.
pub(crate) fn test_tools() -> PathBuf {
    workspace().join("target/test-tools")
}

/// The first program of this name on `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Whether this is the user who may do everything.
pub(crate) fn is_root() -> bool {
    let user = Command::new("id").arg("-u").output();
    user.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether the command can be started and succeeds; what it prints is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs a command whose output people may see.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let status = command
        .status()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?} ended with {status}").into())
}
