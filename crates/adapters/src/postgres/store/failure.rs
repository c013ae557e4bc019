//! What a failed transaction means for its batch.

use chat_domain::{BoxError, StorageError};
use tokio_postgres::Error;
use tokio_postgres::error::{Severity, SqlState};

use crate::group_commit::NotStored;

/// Why a transaction was not carried out.
pub(super) enum Failed {
    /// The connection was closed before anything was said.
    NotBegun(BoxError),
    /// The server has said so, and lives.
    Known(NotStored),
    /// It has waited too long for a lock, or for another that waited for it.
    Lock(BoxError),
    /// The connection cannot be used any more.
    Broken(NotStored),
}

/// Where a transaction has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Count,
    Insert,
    Commit,
}

/// What an error of the driver or the server means for the batch.
pub(super) fn refused(error: Error, step: Step) -> Failed {
    let Some(reported) = error.as_db_error().filter(|reported| {
        // Anything graver is the server's last word on this connection.
        reported.parsed_severity() == Some(Severity::Error)
    }) else {
        return match step {
            Step::Count => Failed::NotBegun(error.into()),
            // It has said so instead of carrying the statement out, and will not commit.
            Step::Insert if error.as_db_error().is_some() => Failed::Broken(unavailable(error)),
            Step::Insert | Step::Commit => {
                Failed::Broken(NotStored::All(StorageError::outcome_unknown(error)))
            }
        };
    };
    let code = reported.code();
    if *code == SqlState::UNIQUE_VIOLATION
        && reported.constraint() == Some("messages_client_message_id")
    {
        return Failed::Known(NotStored::Repeat);
    }
    let waited_for_a_lock = *code == SqlState::LOCK_NOT_AVAILABLE
        || (*code == SqlState::QUERY_CANCELED && step == Step::Count)
        || code.code().starts_with("40");
    if waited_for_a_lock {
        return Failed::Lock(error.into());
    }
    // Not the rows' fault: the connection's, the transaction's or the server's state, a
    // table that is missing, a disk that is full, an operator.
    let server = [
        "08", "0A", "25", "26", "28", "3D", "3F", "42", "53", "55", "57", "58", "XX",
    ];
    match server.contains(&&code.code()[..2]) {
        true => Failed::Known(unavailable(error)),
        false => Failed::Known(NotStored::Row(error.into())),
    }
}

pub(super) fn unavailable(reason: impl Into<BoxError>) -> NotStored {
    NotStored::All(StorageError::unavailable(reason))
}
