//! PostgreSQL's programs: finds and runs them.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use crate::child::run;

/// How long the statements of a test may take.
const PSQL_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs SQL with `psql` on any server and returns its output: one row per line, columns
/// separated by `|`.
///
/// # Errors
///
/// The connection failed, or a statement did; the error has the server's message. It fails
/// with `TimedOut` after a minute.
pub fn psql(url: &str, sql: &str) -> io::Result<String> {
    Programs::find_client()?.psql(url, sql, PSQL_TIMEOUT)
}

/// The folder with PostgreSQL's programs.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Searches `PATH`, then Debian's folders of servers, the newest first.
    ///
    /// # Errors
    ///
    /// `NotFound`; the message says what to install.
    pub fn find() -> io::Result<Self> {
        folders_with(&["initdb", "postgres", "psql"]).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "PostgreSQL's programs initdb, postgres and psql are neither on PATH nor in \
                 /usr/lib/postgresql/*/bin: install the PostgreSQL server (package `postgresql` \
                 on Debian, Ubuntu and Homebrew)",
            )
        })
    }

    /// Like [`Programs::find`], but accepts the client alone. It prefers the server's folder
    /// because Debian's `psql` on `PATH` is a slower wrapper script.
    pub(crate) fn find_client() -> io::Result<Self> {
        Self::find()
            .ok()
            .or_else(|| folders_with(&["psql"]))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    "PostgreSQL's program psql is not on PATH: install the PostgreSQL client \
                     (package `postgresql-client` on Debian and Ubuntu, `libpq` on Homebrew)",
                )
            })
    }

    pub(crate) fn psql(&self, url: &str, sql: &str, timeout: Duration) -> io::Result<String> {
        let output = run(self.psql_session(url).args(["--command", sql]), timeout)?;
        succeed("psql", &output)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.trim_end().to_owned())
    }

    /// Returns a command that runs the SQL of its standard input, up to the first failure.
    pub(crate) fn psql_session(&self, url: &str) -> Command {
        let mut psql = self.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--no-password", "--set", "ON_ERROR_STOP=1"])
            .args(["--dbname", url]);
        psql
    }

    /// Returns a command without environment variables that would change its behaviour.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        // PGPORT, PGSSLMODE and others may describe a developer's own server.
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        // Callers and tests match error messages.
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

/// Returns an error with a program's standard error if the program failed.
pub(crate) fn succeed(program: &str, output: &Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{program} failed with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
