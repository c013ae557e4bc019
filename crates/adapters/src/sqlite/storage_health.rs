//! Whether the database can be written.

use async_trait::async_trait;
use chat_domain::StorageError;
use chat_domain::ports::{RoomRepository, StorageHealth};

use super::Database;

#[async_trait]
impl StorageHealth for Database {
    async fn check_writable(&self) -> Result<(), StorageError> {
        RoomRepository::newest(self, &[]).await.map(drop)
    }

    async fn stopped(&self) -> &'static str {
        std::future::pending().await
    }
}
