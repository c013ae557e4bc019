//! What a failed statement or commit states about the messages.
//!
//! Diesel passes on SQLite's messages, which are always in English, but not its error
//! codes.

use chat_domain::StorageError;
use diesel::result::{DatabaseErrorKind, Error};

use crate::group_commit::StoreError;

/// Messages of errors that concern the file, its locks, the disk or the schema, and so
/// all rows.
const CONCERNS_ALL_ROWS: [&str; 11] = [
    "database is locked",
    "database table is locked",
    "database or disk is full",
    "disk I/O error",
    "attempt to write a readonly database",
    "unable to open database file",
    "database disk image is malformed",
    "file is not a database",
    "out of memory",
    "interrupted",
    "no such table",
];

/// Messages of errors that a commit raises only before its last page is in the log: its
/// frame is incomplete, or not written.
const CERTAINLY_NOT_COMMITTED: [&str; 3] = [
    "database is locked",
    "database table is locked",
    "database or disk is full",
];

/// Classifies the failure of a statement. A row that breaks a rule has a kind of its own,
/// and a repeat is recognized by the columns of its unique index. Any other error may be
/// the refusal of a trigger, and so concerns one row, unless its message is known.
pub(super) fn of_row(error: Error) -> StoreError {
    use DatabaseErrorKind::{
        CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation,
    };

    let (kind, information) = match &error {
        Error::DatabaseError(kind, information) => (kind, information),
        // The row has a value that is not valid.
        Error::DeserializationError(_) => return StoreError::row(error),
        _ => return StoreError::Whole(StorageError::unavailable(error)),
    };
    let message = information.message();
    match kind {
        UniqueViolation if message.ends_with("messages.client_message_id") => StoreError::Repeat,
        UniqueViolation | CheckViolation | NotNullViolation | ForeignKeyViolation => {
            StoreError::row(error)
        }
        _ if CONCERNS_ALL_ROWS.iter().any(|all| message.contains(all)) => {
            StoreError::Whole(StorageError::unavailable(error))
        }
        _ => StoreError::row(error),
    }
}

/// Classifies the failure of a commit.
///
/// A commit appends its pages to the log, makes them durable, and then publishes them to
/// the other connections. If the second or third step fails (a disk error; no memory for
/// the index of the log), this process considers the transaction rolled back, but the log
/// contains all of it, and a restart before the next write restores it. Whether the
/// rollback worked is irrelevant. So the outcome is unknown, except for errors that
/// belong to the first step.
pub(super) fn after_failed_commit(error: Error) -> StorageError {
    use DatabaseErrorKind::{
        CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation,
    };

    let of_commit = match &error {
        Error::RollbackErrorOnCommit { commit_error, .. } => commit_error,
        error => error,
    };
    match of_commit {
        Error::DatabaseError(
            UniqueViolation | CheckViolation | NotNullViolation | ForeignKeyViolation,
            _,
        ) => StorageError::unavailable(error),
        Error::DatabaseError(_, information)
            if CERTAINLY_NOT_COMMITTED.contains(&information.message()) =>
        {
            StorageError::unavailable(error)
        }
        _ => StorageError::outcome_unknown(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str) -> Error {
        Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(message.to_owned()))
    }

    fn after_failed_rollback(message: &str) -> Error {
        Error::RollbackErrorOnCommit {
            rollback_error: Box::new(error("cannot rollback - no transaction is active")),
            commit_error: Box::new(error(message)),
        }
    }

    #[test]
    fn a_disk_error_in_a_commit_leaves_its_outcome_unknown_however_the_rollback_went() {
        for message in ["disk I/O error", "out of memory", "an error of the future"] {
            for error in [error(message), after_failed_rollback(message)] {
                let outcome = after_failed_commit(error);
                assert!(
                    matches!(outcome, StorageError::OutcomeUnknown(_)),
                    "{message}"
                );
            }
        }
    }

    #[test]
    fn a_commit_refused_by_a_full_disk_a_lock_or_a_rule_stores_nothing() {
        let rule = "FOREIGN KEY constraint failed".to_owned();
        let rule = Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, Box::new(rule));
        let refusals = CERTAINLY_NOT_COMMITTED
            .iter()
            .flat_map(|message| [error(message), after_failed_rollback(message)]);
        for error in refusals.chain([rule]) {
            let outcome = after_failed_commit(error);
            assert!(
                matches!(outcome, StorageError::Unavailable(_)),
                "{outcome:?}"
            );
        }
    }
}
