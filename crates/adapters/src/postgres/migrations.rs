//! Brings the schema up to date, in one process at a time.

use std::collections::HashSet;

use chat_domain::BoxError;
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Database;
use super::connect::Purpose;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// The advisory lock that is held while migrations run: a number that other programs on
/// the same database are unlikely to lock.
const LOCK: i64 = 0x6368_6174;

impl Database {
    /// Returns the migrations that are not applied yet, oldest first. Changes nothing.
    ///
    /// # Errors
    /// When the database cannot be reached or read, or its encoding is not UTF8.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, BoxError> {
        let mut connection = self.connector.connect(Purpose::Read).await?;
        pending(&mut connection).await
    }

    /// Checks that [`Self::migrate`] would be allowed to create tables. Changes nothing.
    ///
    /// # Errors
    /// When it would not be allowed to, or the database cannot be asked.
    pub async fn check_migratable(&self) -> Result<(), BoxError> {
        let mut connection = self.connector.connect(Purpose::Read).await?;
        let is_allowed: bool = diesel::dsl::sql::<Bool>(
            "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)",
        )
        .get_result(&mut connection)
        .await?;
        match is_allowed {
            true => Ok(()),
            false => Err("the user may not create tables: GRANT CREATE ON SCHEMA to it".into()),
        }
    }

    /// Applies the pending migrations and returns their names, oldest first. Processes
    /// that migrate at the same time wait for each other, for at most a minute.
    ///
    /// Blocks a worker thread while a migration runs: it needs a multi-thread runtime, and
    /// a task of its own.
    ///
    /// # Errors
    /// When the database cannot be reached, the lock is not released in time, or a
    /// migration fails. Each migration is applied as a whole or not at all.
    pub async fn migrate(&self) -> Result<Vec<String>, BoxError> {
        let mut connection = self.connector.connect(Purpose::Migrate).await?;
        // The session holds the lock until it ends, however this function returns.
        connection
            .batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))
            .await?;
        let names = pending(&mut connection).await?;
        if !names.is_empty() {
            AsyncMigrationHarness::new(connection).run_pending_migrations(MIGRATIONS)?;
        }
        Ok(names)
    }
}

/// Reads the names of the pending migrations. Diesel's own function would create its
/// table.
async fn pending(connection: &mut AsyncPgConnection) -> Result<Vec<String>, BoxError> {
    let is_initialized: bool = diesel::select(diesel::dsl::sql::<Bool>(
        "to_regclass('__diesel_schema_migrations') IS NOT NULL",
    ))
    .get_result(connection)
    .await?;
    let applied: HashSet<String> = if is_initialized {
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
