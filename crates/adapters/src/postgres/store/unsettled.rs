//! Determines when a call whose connection broke has ended.

use std::time::Duration;

use async_trait::async_trait;
use chat_domain::BoxError;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::session::in_time;
use crate::group_commit::Unsettled;
use crate::postgres::connect::{Connector, Purpose};

/// How long the backend may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to end when it is terminated.
const TERMINATION: Duration = Duration::from_secs(1);

/// Terminates the backend that holds the advisory lock.
const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks \
     WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND (classid::bigint << 32 | objid::bigint) = $1";

/// A call on a session that cannot be used any more. The session's backend holds an
/// advisory lock with this key until it ends, whatever its connection does.
pub(super) struct UnsettledCall {
    pub(super) connector: Connector,
    pub(super) key: i64,
}

#[async_trait]
impl Unsettled for UnsettledCall {
    async fn settle(&self) -> Result<(), BoxError> {
        let (client, connection) = self.connector.connect_raw(Purpose::Read).await?;
        // Ends with this function.
        let mut driver = JoinSet::new();
        driver.spawn(async move { connection.await.ok() });
        if self.has_ended(&client, PATIENCE).await? {
            return Ok(());
        }
        tracing::warn!("a storage session outlives its connection and is terminated");
        in_time(client.query(TERMINATE, &[&self.key])).await??;
        match self.has_ended(&client, TERMINATION).await? {
            true => Ok(()),
            false => Err("a storage session outlives its termination".into()),
        }
    }
}

impl UnsettledCall {
    /// Returns whether the lock is free, or becomes free in time.
    async fn has_ended(&self, client: &Client, patience: Duration) -> Result<bool, BoxError> {
        let (patience, key) = (patience.as_millis(), self.key);
        let lock = format!("SET lock_timeout = {patience}; SELECT pg_advisory_lock({key})");
        match in_time(client.batch_execute(&lock)).await? {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
