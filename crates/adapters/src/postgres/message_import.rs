//! Imports messages, on PostgreSQL. What is stored in which order is decided by the
//! [importer](crate::import).

use async_trait::async_trait;
use chat_domain::ports::{Imported, MessageImport};
use chat_domain::{NewMessage, Seq};

use super::Database;

#[async_trait]
impl MessageImport for Database {
    async fn import(&self, messages: Vec<NewMessage>, newest: Seq) -> Imported {
        self.imports.import(messages, newest).await
    }
}
