//! The archive for systems without Debian's packages.

use std::fs;
use std::process::Command;

use super::{Compression, Release, install, output_of};
use crate::error::Error;
use crate::machine::{run, workspace};

/// Files of the workspace that are in the archive, and their names there.
const FILES: [(&str, &str); 5] = [
    ("README.md", "README.md"),
    ("LICENSE", "LICENSE"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("deploy/chat-gateway.service", "chat-gateway.service"),
    ("deploy/chat-gateway.env", "chat-gateway.env"),
];

/// Writes the archive and returns its name.
pub(super) fn write(release: &Release) -> Result<String, Error> {
    let folder = format!("chat-gateway-{}-{}", release.version, release.target.triple);
    let tree = release.scratch.join(&folder);
    install(&release.binary, &tree.join("chat-gateway"), "0755")?;
    for (from, to) in FILES {
        install(&workspace().join(from), &tree.join(to), "0644")?;
    }
    let tar = format!("{folder}.tar");
    let path = release.output.join(&tar);
    output_of(
        Command::new("tar")
            .args(["--create", "--format=ustar", "--sort=name"])
            .args(["--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{}", release.time))
            .arg("--mode=go-w")
            .arg("--file")
            .arg(&path)
            .arg("--directory")
            .arg(&release.scratch)
            .arg(&folder),
    )?;
    let level = match release.compression {
        Compression::Fast => "-1",
        Compression::Best => "-9",
    };
    // Without the archive's name and time.
    run(Command::new("gzip").args(["--no-name", level]).arg(&path))?;
    fs::remove_dir_all(tree)?;
    Ok(format!("{tar}.gz"))
}
