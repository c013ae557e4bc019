//! How durable a commit is on this server.

use chat_domain::BoxError;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;

use super::Database;
use super::connect::Purpose;

/// What the server's settings make of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is on disk before it is confirmed.
    Durable,
    /// `synchronous_commit=off`: a crash of the server loses the last commits.
    DelayedCommit,
    /// `fsync=off`: a crash of the operating system may lose or corrupt everything.
    NoFsync,
}

impl Database {
    /// Reads the server's settings.
    ///
    /// # Errors
    /// When the database cannot be reached, or its encoding is not UTF8.
    pub async fn durability(&self) -> Result<Durability, BoxError> {
        let mut connection = self.connector.connect(Purpose::Read).await?;
        let mut settings = Vec::new();
        for name in ["fsync", "synchronous_commit"] {
            let value = diesel::dsl::sql::<Text>(&format!("SELECT current_setting('{name}')"));
            settings.push(value.get_result::<String>(&mut connection).await?);
        }
        Ok(match (settings[0].as_str(), settings[1].as_str()) {
            ("off", _) => Durability::NoFsync,
            (_, "off") => Durability::DelayedCommit,
            _ => Durability::Durable,
        })
    }
}
