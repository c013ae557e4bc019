//! The schema, brought up to date by one process at a time.

use std::collections::HashSet;

use chat_domain::BoxError;
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Database;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// Held while migrations run; any number that other programs on the same database
/// are unlikely to lock.
const LOCK: i64 = 0x6368_6174;

impl Database {
    /// The migrations that are not applied yet, oldest first. Changes nothing.
    ///
    /// # Errors
    /// When the database cannot be reached or read.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, BoxError> {
        let mut connection = self.connector.connect().await?;
        pending(&mut connection).await
    }

    /// Whether [`Self::migrate`] would be allowed to make tables. Changes nothing.
    ///
    /// # Errors
    /// When it would not, or the database cannot be asked.
    pub async fn check_migratable(&self) -> Result<(), BoxError> {
        let mut connection = self.connector.connect().await?;
        let is_allowed: bool = diesel::dsl::sql::<Bool>(
            "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)",
        )
        .get_result(&mut connection)
        .await?;
        match is_allowed {
            true => Ok(()),
            false => Err("the user may not make tables: GRANT CREATE ON SCHEMA to it".into()),
        }
    }

    /// Applies the pending migrations and names them, oldest first. Others who
    /// do the same at the same time wait for this one (a minute at the most).
    ///
    /// Blocks a worker thread while a migration runs: needs a multi-thread
    /// runtime, and a task of its own.
    ///
    /// # Errors
    /// When the database cannot be reached, the lock not be had, or a migration
    /// fails; each migration is applied wholly or not at all.
    pub async fn migrate(&self) -> Result<Vec<String>, BoxError> {
        let mut connection = self.connector.connect().await?;
        connection
            .batch_execute(&format!(
                "SET lock_timeout = '60s'; SELECT pg_advisory_lock({LOCK}); RESET lock_timeout"
            ))
            .await?;
        // The lock ends with the connection, however this ends.
        let names = pending(&mut connection).await?;
        if !names.is_empty() {
            AsyncMigrationHarness::new(connection).run_pending_migrations(MIGRATIONS)?;
        }
        Ok(names)
    }
}

/// Looks itself, since diesel's own look makes its table.
async fn pending(connection: &mut AsyncPgConnection) -> Result<Vec<String>, BoxError> {
    let known: bool = diesel::select(diesel::dsl::sql::<Bool>(
        "to_regclass('__diesel_schema_migrations') IS NOT NULL",
    ))
    .get_result(connection)
    .await?;
    let applied: HashSet<String> = if known {
        diesel::dsl::sql::<Text>("SELECT version FROM __diesel_schema_migrations")
            .load::<String>(connection)
            .await?
            .into_iter()
            .collect()
    } else {
        HashSet::new()
    };
    let migrations = MigrationSource::<Pg>::migrations(&MIGRATIONS)?;
    Ok(migrations
        .iter()
        .map(|migration| migration.name())
        .filter(|name| !applied.contains(&name.version().to_string()))
        .map(|name| name.to_string())
        .collect())
}
