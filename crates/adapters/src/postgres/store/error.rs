//! What a failed transaction means for its batch and its session.

use chat_domain::{BoxError, StorageError};
use tokio_postgres::Error;
use tokio_postgres::error::{Severity, SqlState};

use crate::group_commit::StoreError;

/// Why a transaction was not carried out, or possibly not carried out.
pub(super) enum TransactionError {
    /// Nothing was stored, and the error would recur on this session, but perhaps not on a
    /// new one.
    Session(BoxError),
    /// Nothing was stored, because the transaction waited too long for a lock, or was part
    /// of a deadlock.
    Lock(BoxError),
    /// The server refused the batch. The session may be used again.
    Refused(StoreError),
    /// The connection broke, or the outcome is unknown. The session must not be used again.
    Broken(StoreError),
}

/// How far a transaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing of it can have been stored; or it may be stored twice without harm.
    Begin,
    Insert,
    Commit,
}

impl TransactionError {
    /// Classifies an error of the driver or the server.
    pub(super) fn new(error: Error, step: Step) -> Self {
        let Some(reported) = error.as_db_error().filter(|reported| {
            // After anything more severe, the server closes the connection.
            reported.parsed_severity() == Some(Severity::Error)
        }) else {
            return Self::of_connection(error, step);
        };
        let code = reported.code();
        if *code == SqlState::UNIQUE_VIOLATION
            && reported.constraint() == Some("messages_client_message_id")
        {
            return Self::Refused(StoreError::Repeat);
        }
        let waited_for_a_lock = *code == SqlState::LOCK_NOT_AVAILABLE
            || (*code == SqlState::QUERY_CANCELED && step == Step::Begin)
            || code.code().starts_with("40");
        if waited_for_a_lock {
            return Self::Lock(error.into());
        }
        match code.code() {
            code if recurs_on_session(code) => Self::Session(error.into()),
            code if concerns_server(code) => Self::Refused(unavailable(error)),
            _ => Self::Refused(StoreError::row(error)),
        }
    }

    /// Classifies an error after which the connection cannot be used.
    fn of_connection(error: Error, step: Step) -> Self {
        match step {
            Step::Begin => Self::Session(error.into()),
            // The server reported it instead of carrying out the statement, and will not
            // commit.
            Step::Insert if error.as_db_error().is_some() => Self::Broken(unavailable(error)),
            Step::Insert | Step::Commit => {
                Self::Broken(StoreError::Whole(StorageError::outcome_unknown(error)))
            }
        }
    }
}

/// Returns whether an error with this code may be due to the state of its session: the
/// connection (08), a cached plan (0A000), a read-only transaction (25006), a prepared
/// statement (26), the user and the database (28, 3D), the search path (3F, 42), a server
/// that is shutting down (57P), or a defect (XX).
fn recurs_on_session(code: &str) -> bool {
    const CLASSES: [&str; 10] = ["08", "0A", "25", "26", "28", "3D", "3F", "42", "57P", "XX"];
    CLASSES.iter().any(|class| code.starts_with(class))
}

/// Returns whether an error with this code is due to the state of the server: its resources
/// (53), an object in use (55), an operator or a timeout (57), or its disk (58). All others
/// are due to the rows.
fn concerns_server(code: &str) -> bool {
    ["53", "55", "57", "58"].contains(&&code[..2])
}

pub(super) fn unavailable(reason: impl Into<BoxError>) -> StoreError {
    StoreError::Whole(StorageError::unavailable(reason))
}
