//! Brings the schema up to date, in one process at a time.

use std::collections::HashSet;

use chat_domain::BoxError;
use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Database;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

impl Database {
    /// Returns the names of the migrations that are not applied yet, oldest first.
    /// Changes nothing, and does not create the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, BoxError> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || {
            if !file.exists() {
                return names(&HashSet::new());
            }
            pending(&mut file.open()?)
        })
        .await?
    }

    /// Checks that [`Self::migrate`] could write or create the file. Leaves nothing
    /// behind.
    ///
    /// # Errors
    /// When it could not.
    pub async fn check_migratable(&self) -> Result<(), BoxError> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || file.check_writable()).await?
    }

    /// Applies the pending migrations, all or none, and returns their names, oldest
    /// first. Creates the file and its directory if they do not exist. Concurrent calls,
    /// also in other processes, wait for each other.
    ///
    /// # Errors
    /// When the file cannot be created or written, or a migration fails.
    pub async fn migrate(&self) -> Result<Vec<String>, BoxError> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || {
            let mut connection = file.create()?;
            // One transaction around everything is the lock.
            connection
                .immediate_transaction(|connection| {
                    let names = pending(connection)?;
                    connection.run_pending_migrations(MIGRATIONS)?;
                    Ok::<_, MigrationError>(names)
                })
                .map_err(|error| error.0)
        })
        .await?
    }
}

/// Any error of a migration; a transaction needs one that diesel's own converts to.
struct MigrationError(BoxError);

impl From<diesel::result::Error> for MigrationError {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}

impl From<BoxError> for MigrationError {
    fn from(error: BoxError) -> Self {
        Self(error)
    }
}

/// Returns the names of the pending migrations. Reads diesel's table itself, because
/// diesel would create it.
fn pending(connection: &mut SqliteConnection) -> Result<Vec<String>, BoxError> {
    let known: i64 = diesel::dsl::sql::<BigInt>(
        "SELECT count(*) FROM sqlite_schema WHERE name = '__diesel_schema_migrations'",
    )
    .get_result(connection)?;
    let applied: HashSet<String> = if known == 0 {
        HashSet::new()
    } else {
        diesel::dsl::sql::<Text>("SELECT version FROM __diesel_schema_migrations")
            .load::<String>(connection)?
            .into_iter()
            .collect()
    };
    names(&applied)
}

/// Returns the names of all migrations except those whose versions are applied.
fn names(applied: &HashSet<String>) -> Result<Vec<String>, BoxError> {
    let migrations = MigrationSource::<Sqlite>::migrations(&MIGRATIONS)?;
    Ok(migrations
        .iter()
        .map(|migration| migration.name())
        .filter(|name| !applied.contains(&name.version().to_string()))
        .map(|name| name.to_string())
        .collect())
}
