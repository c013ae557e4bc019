//! What a failed call means for its batch and its session.

use chat_domain::{BoxError, StorageError};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::group_commit::StoreError;

/// Why a batch was not stored, or possibly not stored.
pub(super) enum CallError {
    /// Nothing was stored, and the error would recur on this session, but perhaps not on a
    /// new one.
    Session(BoxError),
    /// Nothing was stored, because it waited too long for a lock, or was part of a
    /// deadlock.
    Lock(BoxError),
    /// The server refused the batch. The session may be used again.
    Refused(StoreError),
    /// The connection broke, or the outcome is unknown. The session must not be used again.
    Broken(StoreError),
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has no result yet, and commits only after it has one.
    Called,
    /// It has a result, and may be committed.
    Committing,
    /// It may be carried out twice without harm.
    Harmless,
}

impl CallError {
    /// Classifies an error of the driver or the server.
    pub(super) fn new(error: Error, progress: Progress) -> Self {
        let Some(reported) = error.as_db_error() else {
            return match progress {
                Progress::Harmless => Self::Session(error.into()),
                Progress::Called | Progress::Committing => {
                    Self::Broken(StoreError::Whole(StorageError::outcome_unknown(error)))
                }
            };
        };
        let shown = Reported::from(reported);
        // After anything more severe, the server closes the connection.
        if reported.parsed_severity() != Some(Severity::Error) {
            return match progress {
                // The server reports it instead of a result.
                Progress::Called | Progress::Harmless => Self::Session(shown.into()),
                Progress::Committing => {
                    Self::Broken(StoreError::Whole(StorageError::outcome_unknown(shown)))
                }
            };
        }
        let code = reported.code();
        if *code == SqlState::UNIQUE_VIOLATION
            && reported.constraint() == Some("messages_client_message_id")
        {
            return Self::Refused(StoreError::Repeat);
        }
        let waited_for_a_lock = *code == SqlState::LOCK_NOT_AVAILABLE
            || (*code == SqlState::QUERY_CANCELED && progress == Progress::Harmless)
            || code.code().starts_with("40");
        if waited_for_a_lock {
            return Self::Lock(shown.into());
        }
        match code.code() {
            code if recurs_on_session(code) => Self::Session(shown.into()),
            code if concerns_server(code) => Self::Refused(unavailable(shown)),
            _ => Self::Refused(StoreError::row(shown)),
        }
    }
}

/// What the server reports, without the details that it adds: they repeat the row that it
/// refuses, and with it the content of a message.
#[derive(Debug, thiserror::Error)]
#[error("db error: {severity}: {message} (SQLSTATE {code})")]
struct Reported {
    severity: String,
    message: String,
    code: String,
}

impl From<&DbError> for Reported {
    fn from(error: &DbError) -> Self {
        Self {
            severity: error.severity().to_owned(),
            message: error.message().to_owned(),
            code: error.code().code().to_owned(),
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
