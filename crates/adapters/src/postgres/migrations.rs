//! Brings the schema up to date, in one process at a time.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use chat_domain::BoxError;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{
    EmbeddedMigrations, FileBasedMigrations, MigrationHarness, embed_migrations,
};
use tokio::task::block_in_place;

use super::Database;
use super::connect::Purpose;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// The advisory lock that is held while migrations run: a number that other programs on
/// the same database are unlikely to lock.
const LOCK: i64 = 0x6368_6174;

/// How long a statement of a migration waits for a table. Whatever needs the table waits
/// behind it: it must be less than the time for which a running node's batch waits.
const TABLE_LOCK_TIMEOUT: Duration = Duration::from_millis(200);
/// How long the running nodes have the table for themselves before the next attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(300);
/// For how long a migration is tried again.
const RETRY_DEADLINE: Duration = Duration::from_secs(60);

impl Database {
    /// Returns the migrations that are not applied yet, oldest first. Changes nothing.
    ///
    /// # Errors
    /// When the database cannot be reached or read, or its encoding is not UTF8.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, BoxError> {
        let mut connection = self.connector.connect(Purpose::Read).await?;
        pending(&mut connection, &MIGRATIONS).await
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

    /// Applies the pending migrations and returns their names, oldest first. Migrations
    /// that a newer version has applied are left alone. Processes that migrate at the same
    /// time wait for each other, for at most a minute.
    ///
    /// Other nodes may store messages meanwhile: a migration that does not get its locks at
    /// once is rolled back and tried again, for a minute.
    ///
    /// Blocks a worker thread while a migration runs: it needs a multi-thread runtime, and
    /// a task of its own.
    ///
    /// # Errors
    /// When the database cannot be reached, a lock is not released in time, or a migration
    /// fails. Each migration is applied as a whole or not at all.
    pub async fn migrate(&self) -> Result<Vec<String>, BoxError> {
        self.apply(MIGRATIONS).await
    }

    /// Like [`Self::migrate`], with the migrations in a folder: for tests, in which a newer
    /// version brings a migration.
    ///
    /// # Errors
    /// As [`Self::migrate`], and when the folder cannot be read.
    #[doc(hidden)]
    pub async fn migrate_from(&self, folder: &Path) -> Result<Vec<String>, BoxError> {
        self.apply(FileBasedMigrations::from_path(folder)?).await
    }

    async fn apply(&self, source: impl MigrationSource<Pg>) -> Result<Vec<String>, BoxError> {
        let mut connection = self.connector.connect(Purpose::Migrate).await?;
        // The session holds the lock until it ends, however this function returns.
        connection
            .batch_execute(&format!(
                "SELECT pg_advisory_lock({LOCK}); SET lock_timeout = {}",
                TABLE_LOCK_TIMEOUT.as_millis()
            ))
            .await?;
        let names = pending(&mut connection, &source).await?;
        if !names.is_empty() {
            let mut harness = AsyncMigrationHarness::new(connection);
            for migration in harness.pending_migrations(source)? {
                apply_one(&mut harness, &*migration)?;
            }
        }
        Ok(names)
    }
}

/// Applies a migration, again if it may have waited for a table in vain. diesel does not pass
/// on the server's error code, and the message may be in any language: what shows such a wait
/// is its duration.
fn apply_one(
    harness: &mut impl MigrationHarness<Pg>,
    migration: &dyn Migration<Pg>,
) -> Result<(), BoxError> {
    let begun = Instant::now();
    loop {
        let attempt = Instant::now();
        let Err(error) = harness.run_migration(migration) else {
            return Ok(());
        };
        if attempt.elapsed() < TABLE_LOCK_TIMEOUT || begun.elapsed() > RETRY_DEADLINE {
            return Err(error);
        }
        tracing::info!(
            name = %migration.name(), %error,
            "a migration waits for a table that is in use"
        );
        block_in_place(|| std::thread::sleep(RETRY_PAUSE));
    }
}

/// Reads the names of the pending migrations. Diesel's own function would create its
/// table.
async fn pending(
    connection: &mut AsyncPgConnection,
    source: &impl MigrationSource<Pg>,
) -> Result<Vec<String>, BoxError> {
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
    let migrations = source.migrations()?;
    Ok(migrations
        .iter()
        .map(|migration| migration.name())
        .filter(|name| !applied.contains(&name.version().to_string()))
        .map(|name| name.to_string())
        .collect())
}
