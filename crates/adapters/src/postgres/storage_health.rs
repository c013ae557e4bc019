//! Whether PostgreSQL can be written.

use async_trait::async_trait;
use chat_domain::StorageError;
use chat_domain::ports::{PoolStatus, StorageHealth};

use super::Database;

#[async_trait]
impl StorageHealth for Database {
    async fn check_writable(&self) -> Result<(), StorageError> {
        self.commits.check_writable().await
    }

    fn pool(&self) -> PoolStatus {
        self.pool.status()
    }

    async fn stopped(&self) -> &'static str {
        tokio::select! {
            task = self.commits.stopped() => task,
            task = self.changes.stopped() => task,
        }
    }
}
