//! The schema, brought up to date by one process at a time.

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
    /// The migrations that are not applied yet, oldest first. Changes nothing: a
    /// missing file stays missing.
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

    /// Whether [`Self::migrate`] could write the file, or make it. Leaves nothing
    /// behind.
    ///
    /// # Errors
    /// When it could not.
    pub async fn check_migratable(&self) -> Result<(), BoxError> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || file.check_writable()).await?
    }

    /// Applies the pending migrations and names them, oldest first; makes the
    /// file and its folder if they are missing. Others who do the same at the
    /// same time wait for this one.
    ///
    /// # Errors
    /// When the file cannot be made or written, or a migration fails; all are
    /// applied, or none.
    pub async fn migrate(&self) -> Result<Vec<String>, BoxError> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || {
            let mut connection = file.create()?;
            // One transaction around all of it is the lock.
            connection
                .immediate_transaction(|connection| {
                    let names = pending(connection)?;
                    connection.run_pending_migrations(MIGRATIONS)?;
                    Ok::<_, Failed>(names)
                })
                .map_err(|failed| failed.0)
        })
        .await?
    }
}

/// `transaction` wants an error that diesel's own can become.
struct Failed(BoxError);

impl From<diesel::result::Error> for Failed {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}

impl From<BoxError> for Failed {
    fn from(error: BoxError) -> Self {
        Self(error)
    }
}

/// Looks itself, since diesel's own look makes its table.
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

/// All migrations but the applied ones.
fn names(applied: &HashSet<String>) -> Result<Vec<String>, BoxError> {
    let migrations = MigrationSource::<Sqlite>::migrations(&MIGRATIONS)?;
    Ok(migrations
        .iter()
        .map(|migration| migration.name())
        .filter(|name| !applied.contains(&name.version().to_string()))
        .map(|name| name.to_string())
        .collect())
}
