//! What a failed commit says about the message.

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
