//! What a failed statement or commit says about the messages.

use chat_domain::StorageError;
use diesel::result::{DatabaseErrorKind, Error};

use crate::group_commit::NotStored;

/// After a statement failed. SQLite tells rows that break a rule apart, and diesel
/// passes its words on: for a repeat, the unique index's columns. The rest is the
/// file's, the disk's or the schema's state, or a trigger's refusal.
pub(super) fn of_row(error: Error) -> NotStored {
    use DatabaseErrorKind::{
        CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation,
    };

    let Error::DatabaseError(kind, information) = &error else {
        return NotStored::All(StorageError::unavailable(error));
    };
    let text = information.message();
    // As sqlite3_errstr and the library's own messages have them, in no language but
    // this: for a lock, a limit and the disk.
    let is_the_files = [
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
    match kind {
        UniqueViolation if text.ends_with("messages.client_message_id") => NotStored::Repeat,
        UniqueViolation | CheckViolation | NotNullViolation | ForeignKeyViolation => {
            NotStored::Row(error.into())
        }
        _ if is_the_files.iter().any(|words| text.contains(words)) => {
            NotStored::All(StorageError::unavailable(error))
        }
        _ => NotStored::Row(error.into()),
    }
}

/// After a commit failed and was rolled back. SQLite's commits are carried out in
/// this process: a full disk, a lock or a limit leaves nothing behind. Only when
/// the disk itself fails in between can the log hold the commit all the same.
pub(super) fn after_failed_commit(error: Error) -> StorageError {
    match &error {
        Error::DatabaseError(_, info) if info.message().contains("disk I/O error") => {
            StorageError::outcome_unknown(error)
        }
        _ => StorageError::unavailable(error),
    }
}
