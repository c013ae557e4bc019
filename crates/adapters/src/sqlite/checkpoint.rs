//! Keeps the write-ahead log small.
//!
//! SQLite copies the log into the database by itself, but starts it anew only in a moment
//! without readers. Under constant reads there is none, and the log grows without bound.
//! So the writer resets a log that is larger than [`LOG_LIMIT`] between two writes. While
//! it does, it holds the write lock: reads that began earlier are waited for, and reads
//! that begin later do not use the log.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Integer;

use super::file::{BUSY_TIMEOUT, DatabaseFile};

/// The size in bytes above which the log is reset. It is twice the size at which SQLite
/// copies the log by itself, so that it is rarely reached without overlapping reads.
pub(super) const LOG_LIMIT: u64 = 8 << 20;
/// How long writes wait for the reads that still use the log. Almost every read is
/// shorter.
const PATIENCE: Duration = Duration::from_millis(250);
/// The time between two attempts while a long read keeps the log: waiting in vain then
/// costs writes at most a twentieth of their time.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Resets the log when it is too large.
#[derive(Default)]
pub(super) struct Checkpoint {
    /// When to try again, after an attempt that failed.
    retry_at: Option<Instant>,
}

impl Checkpoint {
    /// Returns when [`Self::reset_large_log`] must be called even if nothing is written.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Resets the log if it is too large and the last attempt is not too recent.
    ///
    /// # Errors
    /// When the connection must not be used again.
    pub(super) fn reset_large_log(
        &mut self,
        file: &DatabaseFile,
        connection: &mut SqliteConnection,
    ) -> QueryResult<()> {
        if file.log_size() <= LOG_LIMIT {
            self.retry_at = None;
            return Ok(());
        }
        if self.retry_at.is_some_and(|retry| Instant::now() < retry) {
            return Ok(());
        }
        let reset = reset_log(connection);
        self.retry_at = match reset {
            Ok(Reset::Done) => None,
            Ok(Reset::InUse) | Err(_) => Some(Instant::now() + RETRY_INTERVAL),
        };
        reset.map(drop)
    }
}

enum Reset {
    Done,
    /// A read still uses the log.
    InUse,
}

fn reset_log(connection: &mut SqliteConnection) -> QueryResult<Reset> {
    set_busy_timeout(connection, PATIENCE)?;
    let truncate =
        diesel::dsl::sql::<(Integer, Integer, Integer)>("PRAGMA wal_checkpoint(TRUNCATE)");
    let (is_busy, ..) = truncate.get_result::<(i32, i32, i32)>(connection)?;
    set_busy_timeout(connection, BUSY_TIMEOUT)?;
    Ok(match is_busy {
        0 => Reset::Done,
        _ => Reset::InUse,
    })
}

fn set_busy_timeout(connection: &mut SqliteConnection, timeout: Duration) -> QueryResult<()> {
    connection.batch_execute(&format!("PRAGMA busy_timeout = {}", timeout.as_millis()))
}
