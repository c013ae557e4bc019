//! The Debian package. `deploy/debian/` has what it is made of; dpkg-deb puts it together.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{Compression, Release, install, libraries, output_of};
use crate::error::Error;
use crate::machine::{find_program, run, workspace};

/// The file of settings, which belongs to the administrator: dpkg replaces it only if it has not
/// been changed.
const CONFIGURATION: &str = "/etc/chat-gateway/chat-gateway.env";

/// Files of the workspace that are in the package, where they are there, and with which mode.
const FILES: [(&str, &str, &str); 5] = [
    (
        "deploy/chat-gateway.service",
        "usr/lib/systemd/system/chat-gateway.service",
        "0644",
    ),
    // It will contain a secret.
    (
        "deploy/chat-gateway.env",
        "etc/chat-gateway/chat-gateway.env",
        "0640",
    ),
    (
        "deploy/debian/copyright",
        "usr/share/doc/chat-gateway/copyright",
        "0644",
    ),
    ("README.md", "usr/share/doc/chat-gateway/README.md", "0644"),
    (
        "docs/configuration.md",
        "usr/share/doc/chat-gateway/configuration.md",
        "0644",
    ),
];

const MAINTAINER: &str = "The chat-gateway authors <maintainers@chat-gateway.invalid>";

/// The scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Writes the package and returns its name.
pub(super) fn write(release: &Release) -> Result<String, Error> {
    if find_program("dpkg-deb").is_none() {
        return Err("dpkg-deb is not installed (Debian's package is dpkg)".into());
    }
    // The revision of the packaging, which is released with the gateway.
    let version = format!("{}-1", debian_version(&release.version));
    let architecture = release.target.debian;
    let name = format!("chat-gateway_{version}_{architecture}.deb");
    let tree = release.scratch.join("debian");
    install(&release.binary, &tree.join("usr/bin/chat-gateway"), "0755")?;
    for (from, to, mode) in FILES {
        install(&workspace().join(from), &tree.join(to), mode)?;
    }
    write_changelogs(&tree, &version, &release.time)?;
    let sums = checksums(&tree)?;
    let size = installed_size(&tree)?;

    let control = tree.join("DEBIAN");
    let template = fs::read_to_string(workspace().join("deploy/debian/control"))?;
    fs::create_dir_all(&control)?;
    fs::write(
        control.join("control"),
        template
            .replace("@VERSION@", &version)
            .replace("@ARCHITECTURE@", architecture)
            .replace("@MAINTAINER@", MAINTAINER)
            .replace("@INSTALLED_SIZE@", &size.to_string())
            .replace("@DEPENDS@", &libraries::depends(&release.binary)?),
    )?;
    fs::write(control.join("conffiles"), format!("{CONFIGURATION}\n"))?;
    fs::write(control.join("md5sums"), sums)?;
    for script in SCRIPTS {
        let from = workspace().join("deploy/debian").join(script);
        install(&from, &control.join(script), "0755")?;
    }
    set_modes(&tree)?;

    let compression = match release.compression {
        Compression::Fast => "-Znone",
        Compression::Best => "-Zxz",
    };
    run(Command::new("dpkg-deb")
        .env("SOURCE_DATE_EPOCH", &release.time)
        // The number of threads would decide how the stream is cut.
        .env("DPKG_DEB_THREADS_MAX", "1")
        .args(["--root-owner-group", compression])
        .arg("--build")
        .arg(&tree)
        .arg(release.output.join(&name))
        .stdout(std::process::Stdio::null()))?;
    Ok(name)
}

/// In Debian's order, what follows `~` is older than nothing: 1.0.0~rc.1 is older than 1.0.0.
fn debian_version(version: &str) -> String {
    let (version, build) = match version.split_once('+') {
        Some((version, build)) => (version, format!("+{}", build.replace('-', "."))),
        None => (version, String::new()),
    };
    let version = match version.split_once('-') {
        Some((version, pre)) => format!("{version}~{}", pre.replace('-', ".")),
        None => version.to_owned(),
    };
    version + &build
}

/// Writes the gateway's changelog, and the packaging's, which refers to it.
fn write_changelogs(tree: &Path, version: &str, time: &str) -> Result<(), Error> {
    let folder = tree.join("usr/share/doc/chat-gateway");
    let changelog = folder.join("changelog");
    install(&workspace().join("CHANGELOG.md"), &changelog, "0644")?;
    let date = output_of(
        Command::new("date")
            .args(["--utc", "--rfc-email", "--date", &format!("@{time}")])
            .env("LC_ALL", "C"),
    )?;
    let of_packaging = folder.join("changelog.Debian");
    let entry = format!(
        "chat-gateway ({version}) stable; urgency=medium\n\n  * Version {version}, see \
         changelog.gz.\n\n -- {MAINTAINER}  {date}"
    );
    fs::write(&of_packaging, entry)?;
    fs::set_permissions(&of_packaging, fs::Permissions::from_mode(0o644))?;
    run(Command::new("gzip")
        .args(["--no-name", "-9"])
        .args([changelog, of_packaging]))
}

/// Returns the lines of `md5sums`, with which `dpkg --verify` finds changed files.
fn checksums(tree: &Path) -> Result<String, Error> {
    let mut files = Vec::new();
    list(tree, Path::new(""), &mut files)?;
    files.sort_unstable();
    files.retain(|file| !CONFIGURATION.ends_with(file.as_str()));
    output_of(Command::new("md5sum").args(files).current_dir(tree))
}

/// Returns the size of all files in KiB, rounded up for each, as Debian counts.
fn installed_size(tree: &Path) -> Result<u64, Error> {
    let mut files = Vec::new();
    list(tree, Path::new(""), &mut files)?;
    let mut size = 0;
    for file in files {
        size += fs::metadata(tree.join(file))?.len().div_ceil(1024);
    }
    Ok(size)
}

/// Appends the paths of all files below a folder, relative to the tree.
fn list(tree: &Path, folder: &Path, files: &mut Vec<String>) -> Result<(), Error> {
    for entry in fs::read_dir(tree.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => list(tree, &path, files)?,
            false => files.push(path.to_str().ok_or("a path is not UTF-8")?.to_owned()),
        }
    }
    Ok(())
}

/// Sets the modes that depend on the umask.
fn set_modes(tree: &Path) -> Result<(), Error> {
    fs::set_permissions(tree, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            set_modes(&entry.path())?;
        } else if entry
            .path()
            .parent()
            .is_some_and(|it| it.ends_with("DEBIAN"))
            && !SCRIPTS.iter().any(|script| entry.file_name() == *script)
        {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_before_a_release_is_older_than_it_for_debian() {
        assert_eq!(debian_version("1.2.3"), "1.2.3");
        assert_eq!(debian_version("1.2.3-rc.1"), "1.2.3~rc.1");
        assert_eq!(debian_version("1.2.3-rc-1+b-2"), "1.2.3~rc.1+b.2");
        let older = Command::new("dpkg")
            .args(["--compare-versions", "1.2.3~rc.1", "lt", "1.2.3"])
            .status();
        // Only Debian has dpkg to ask.
        if let Ok(status) = older {
            assert!(status.success());
        }
    }
}
