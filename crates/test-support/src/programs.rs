//! PostgreSQL's own programs: where they are on this machine, and running them.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Runs SQL with `psql` on any server and gives back what it prints: rows on lines,
/// columns separated by `|`.
///
/// # Errors
///
/// No connection, or the message of the statement that failed.
pub fn psql(url: &str, sql: &str) -> io::Result<String> {
    Programs::find_client()?.psql(url, sql)
}

/// Where PostgreSQL's programs are on this machine.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Looks along `PATH`, then where Debian keeps the servers, the newest first.
    ///
    /// # Errors
    ///
    /// `NotFound`, saying what to install.
    pub fn find() -> io::Result<Self> {
        folders_with(&["initdb", "postgres", "psql"]).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "PostgreSQL's programs initdb, postgres and psql are neither on PATH nor in \
                 /usr/lib/postgresql/*/bin: install PostgreSQL's server (the package is \
                 called `postgresql` on Debian, Ubuntu and Homebrew)",
            )
        })
    }

    /// As [`Programs::find`], but the client is enough. (Debian's `psql` on `PATH` is a
    /// script around the one beside the server, and slower.)
    pub(crate) fn find_client() -> io::Result<Self> {
        Self::find()
            .ok()
            .or_else(|| folders_with(&["psql"]))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    "PostgreSQL's program psql is not on PATH: install PostgreSQL's client (the \
                 package is called `postgresql-client` on Debian and Ubuntu, `libpq` on Homebrew)",
                )
            })
    }

    pub(crate) fn psql(&self, url: &str, sql: &str) -> io::Result<String> {
        let output = self
            .command("psql")
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--no-password", "--set", "ON_ERROR_STOP=1"])
            .args(["--dbname", url, "--command", sql])
            .stdin(Stdio::null())
            .output()?;
        succeed("psql", &output)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.trim_end().to_owned())
    }

    /// A program with nothing in its environment that would change what it does.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        // What a developer's shell says about servers of their own: PGPORT, PGSSLMODE…
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        // Error messages are looked at, below.
        command.env("LC_ALL", "C");
        command
    }
}

fn folders_with(programs: &[&str]) -> Option<Programs> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable();
    let debian = versions.into_iter().rev().map(|(_, folder)| folder);
    env::split_paths(&path)
        .chain(debian)
        .find(|folder| {
            programs
                .iter()
                .all(|program| folder.join(program).is_file())
        })
        .map(|folder| Programs { folder })
}

/// Turns a program that failed into an error with what it said.
pub(crate) fn succeed(program: &str, output: &Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{program} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
