//! Node.js, with the packages of the JavaScript tests and of the TypeScript client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use super::Need;
use crate::error::Error;
use crate::machine::{find_program, run, step};

pub(crate) const NEED: Need = Need {
    is_met: || find_program("node").is_some() && find_program("npm").is_some(),
    packages: &["nodejs", "npm"],
};

/// Installs the packages that `package-lock.json` pins in each of these folders, and returns the
/// program `node`.
pub(crate) fn prepare(folders: &[&Path]) -> Result<PathBuf, Error> {
    let (Some(node), Some(npm)) = (find_program("node"), find_program("npm")) else {
        return Err(
            "the tests need Node.js and npm for JavaScript clients: install them (Debian's \
             packages are `nodejs` and `npm`)"
                .into(),
        );
    };
    for folder in folders {
        install(&npm, folder)?;
    }
    step(&format!("node {}", node.display()));
    Ok(node)
}

fn install(npm: &Path, folder: &Path) -> Result<(), Error> {
    // npm writes this file last: after an interrupted installation it is missing.
    let installed = modified(&folder.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= modified(&folder.join("package-lock.json")) {
        return Ok(());
    }
    step(&format!("npm ci in {}", folder.display()));
    run(Command::new(npm)
        .arg("ci")
        .current_dir(folder)
        .stdin(Stdio::null()))
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|file| file.modified()).ok()
}
