//! What a failed commit says about the message.

use chat_domain::StorageError;
use diesel::result::Error;

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
