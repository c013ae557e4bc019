//! The database of the runs, created again for each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use chat_test_support::{Cluster, ClusterOptions};

use super::contestant::Schema;
use crate::error::Error;
use crate::machine::step;

const NAME: &str = "bench";

pub(super) enum Database {
    Postgres(Box<Cluster>),
    /// The file of each run.
    Sqlite(PathBuf),
}

impl Database {
    /// Starts PostgreSQL with its default durability: a server that does not wait for the
    /// disk would not be comparable.
    pub(super) fn start_postgres(folder: Option<PathBuf>) -> Result<Self, Error> {
        let cluster = Cluster::start(ClusterOptions {
            folder,
            ..ClusterOptions::default()
        })?;
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let value = cluster.psql("postgres", &format!("show {setting}"))?;
            if value != "on" {
                return Err(format!("PostgreSQL has {setting}={value} by default").into());
            }
        }
        let version = cluster.psql("postgres", "show server_version")?;
        step(&format!("PostgreSQL {version} on port {}", cluster.port()));
        Ok(Self::Postgres(Box::new(cluster)))
    }

    /// Describes the database for the caption of the figures.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "PostgreSQL with its default durability",
            Self::Sqlite(_) => "SQLite",
        }
    }

    /// Replaces the database by an empty one and returns its URL.
    pub(super) fn recreate(&self, schema: &Schema) -> Result<String, Error> {
        match self {
            Self::Postgres(cluster) => {
                let drop = format!("drop database if exists {NAME} with (force)");
                cluster.psql("postgres", &drop)?;
                cluster.create_database(NAME)?;
                if let Schema::Sql(sql) = schema {
                    cluster.psql(NAME, sql)?;
                }
                // Otherwise, this run would pay for writes of the previous one.
                cluster.psql("postgres", "checkpoint")?;
                Ok(cluster.url(NAME))
            }
            Self::Sqlite(file) => {
                for suffix in ["", "-wal", "-shm"] {
                    let mut name = file.clone().into_os_string();
                    name.push(suffix);
                    match fs::remove_file(&name) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(error.into());
                        }
                        _ => {}
                    }
                }
                Ok(format!("sqlite://{}", file.display()))
            }
        }
    }

    /// Runs statements, each in its own transaction.
    ///
    /// # Errors
    /// A statement failed, or the database is not PostgreSQL.
    pub(super) fn execute<S: AsRef<str>>(
        &self,
        statements: impl IntoIterator<Item = S>,
    ) -> Result<(), Error> {
        let Self::Postgres(cluster) = self else {
            return Err("only PostgreSQL can be filled with rows".into());
        };
        for statement in statements {
            cluster.psql(NAME, statement.as_ref())?;
        }
        Ok(())
    }

    pub(super) fn count_messages(&self) -> Result<u64, Error> {
        const SQL: &str = "select count(*) from messages";
        let count = match self {
            Self::Postgres(cluster) => cluster.psql(NAME, SQL)?,
            Self::Sqlite(file) => query_file(file, SQL)?,
        };
        Ok(count.trim().parse()?)
    }

    /// Returns the id of the process whose children serve PostgreSQL's connections.
    pub(super) fn process(&self) -> Result<Option<String>, Error> {
        let Self::Postgres(cluster) = self else {
            return Ok(None);
        };
        let file = cluster.psql("postgres", "select pg_read_file('postmaster.pid')")?;
        Ok(file.lines().next().map(str::to_owned))
    }
}

/// Queries a SQLite file with Python, which includes SQLite; the program `sqlite3` may not
/// be installed.
fn query_file(file: &Path, sql: &str) -> Result<String, Error> {
    let script = "import sqlite3, sys\n\
                  print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .arg(sql)
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} cannot be queried: {error}", file.display()).into())
}
