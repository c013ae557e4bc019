//! What a failed commit says about the message, and how the driver's errors are shown.

use chat_domain::StorageError;
use diesel::sql_types::Integer;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::pool;

/// After a commit failed: a server that still answers on the same connection has
/// refused it, and nothing is stored. If it does not, the commit may have been
/// carried out, or may yet be.
pub(super) async fn after_failed_commit(
    connection: &mut AsyncPgConnection,
    error: pool::Failed,
) -> StorageError {
    if matches!(error, pool::Failed::TooSlow) {
        return StorageError::outcome_unknown(error);
    }
    let alive = diesel::select(diesel::dsl::sql::<Integer>("1")).get_result::<i32>(connection);
    match pool::in_time(alive).await {
        Ok(_) => StorageError::unavailable(error),
        Err(_) => StorageError::outcome_unknown(error),
    }
}

/// An error with its causes, which the driver's own text leaves out.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
