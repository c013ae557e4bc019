//! An empty database for one test, on the server that all tests share.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::BuildHasher as _;
use std::io;
use std::time::Duration;

use crate::process::wait_until;
use crate::programs::{Programs, psql};
use crate::transaction::Transaction;

/// The sessions of the database that wait for a lock.
const LOCK_WAITS: &str = "select count(distinct pid) from pg_locks \
     join pg_stat_activity using (pid) where not granted and datname = current_database()";

/// A database with a unique name. Dropping the value closes all connections to the
/// database and drops it.
#[derive(Debug)]
pub struct TestDatabase {
    admin_url: String,
    name: String,
}

impl TestDatabase {
    /// Creates a database on the server that `cargo xtask test` provides.
    ///
    /// # Panics
    ///
    /// If `TEST_DATABASE_URL` is not set: a test must not skip itself silently.
    #[must_use]
    pub fn create_from_env() -> Self {
        let admin_url = env::var("TEST_DATABASE_URL").expect(
            "TEST_DATABASE_URL is not set: run `cargo xtask test`, which provides PostgreSQL",
        );
        Self::create(&admin_url)
    }

    /// Creates a database on the server of `admin_url`, whose user may create databases.
    ///
    /// # Panics
    ///
    /// If the server refuses, with its message.
    #[must_use]
    pub fn create(admin_url: &str) -> Self {
        Programs::find_client().expect("psql creates the test's database");
        let name = format!("chat_test_{:016x}", RandomState::new().hash_one(()));
        psql(admin_url, &format!("create database {name}"))
            .expect("TEST_DATABASE_URL names a server on which databases can be created");
        Self {
            admin_url: admin_url.to_owned(),
            name,
        }
    }

    /// Returns the URL of this database, with the user and parameters of the server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        with_database(&self.admin_url, &self.name)
    }

    /// Returns its name on the server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL and returns its output: one row per line, columns separated by `|`.
    ///
    /// # Errors
    ///
    /// The connection failed, or a statement did; the error has the server's message.
    pub fn psql(&self, sql: &str) -> io::Result<String> {
        psql(&self.url(), sql)
    }

    /// Begins a transaction on a session of its own and runs SQL in it, for example to hold a
    /// lock.
    ///
    /// # Errors
    ///
    /// The connection failed, or a statement did; the error has the server's message.
    pub fn begin(&self, sql: &str) -> io::Result<Transaction> {
        Transaction::begin(&self.url(), sql)
    }

    /// Waits until this number of sessions, or more, wait for a lock.
    ///
    /// # Errors
    ///
    /// `TimedOut` after 20 seconds, or the connection failed.
    pub fn wait_for_lock_waits(&self, sessions: usize) -> io::Result<()> {
        let what = format!("{sessions} sessions wait for a lock");
        wait_until(Duration::from_secs(20), &what, || {
            let waiting: usize = self.psql(LOCK_WAITS)?.parse().map_err(io::Error::other)?;
            Ok((waiting >= sessions).then_some(()))
        })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let sql = format!("drop database if exists {} with (force)", self.name);
        if let Err(error) = psql(&self.admin_url, &sql) {
            eprintln!("cannot drop database {}: {error}", self.name);
        }
    }
}

fn with_database(url: &str, name: &str) -> String {
    let (address, parameters) = match url.split_once('?') {
        Some((address, parameters)) => (address, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let host = address.find("://").map_or(0, |scheme| scheme + 3);
    let end = address[host..]
        .find('/')
        .map_or(address.len(), |slash| host + slash);
    format!("{}/{name}{parameters}", &address[..end])
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn the_url_of_a_test_database_differs_only_in_the_name() {
        for (url, expected) in [
            ("postgres://u:p@h:1/old", "postgres://u:p@h:1/new"),
            ("postgres://h", "postgres://h/new"),
            (
                "postgres://h?sslmode=require",
                "postgres://h/new?sslmode=require",
            ),
            (
                "postgresql://h/old?sslrootcert=/a/b",
                "postgresql://h/new?sslrootcert=/a/b",
            ),
        ] {
            assert_eq!(with_database(url, "new"), expected);
        }
    }
}
