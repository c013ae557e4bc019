//! A lock of another session, for which everything waits that the gateway stores.

use chat_test_support::Transaction;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};

use super::Database;

/// Holds the lock until it is released or dropped.
pub(crate) enum WriteLock<'a> {
    Sqlite(SqliteConnection),
    Postgres(&'a Database, Transaction),
}

impl Database {
    /// Locks the messages. The gateway can read them on SQLite, but not on PostgreSQL.
    pub(crate) fn lock_writes(&self) -> WriteLock<'_> {
        match self {
            Self::Sqlite(_) => {
                let path = self.path();
                let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
                other.batch_execute("BEGIN IMMEDIATE").unwrap();
                WriteLock::Sqlite(other)
            }
            Self::Postgres(_) => {
                let lock = "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE";
                WriteLock::Postgres(self, self.begin(lock))
            }
        }
    }

    /// Begins a PostgreSQL transaction on a session of its own and runs SQL in it.
    pub(crate) fn begin(&self, sql: &str) -> Transaction {
        match self {
            Self::Sqlite(_) => panic!("lock a SQLite database by a connection"),
            Self::Postgres(database) => database.begin(sql).unwrap(),
        }
    }

    /// Waits until a PostgreSQL session waits for a lock.
    pub(crate) fn wait_for_lock_wait(&self) {
        match self {
            Self::Sqlite(_) => panic!("SQLite does not show what waits for a lock"),
            Self::Postgres(database) => database.wait_for_lock_waits(1).unwrap(),
        }
    }
}

impl WriteLock<'_> {
    /// Waits until the gateway waits for the lock. SQLite does not show this: there, an event
    /// that is refused because the one before it is in progress has to prove it.
    pub(crate) fn wait_for_waiting_write(&self) {
        match self {
            Self::Sqlite(_) => {}
            Self::Postgres(database, _) => database.wait_for_lock_wait(),
        }
    }

    /// Lets the gateway store.
    pub(crate) fn release(self) {
        match self {
            Self::Sqlite(mut other) => other.batch_execute("ROLLBACK").unwrap(),
            Self::Postgres(_, transaction) => transaction.commit().unwrap(),
        }
    }
}
