//! The repositories on an embedded SQLite.
//!
//! Many connections read; one task writes, with a connection of its own, and is
//! never cancelled in the middle: what a caller is told is what happened.

mod errors;
mod file;
mod message_repository;
mod migrations;
mod pool;
mod room_repository;
mod rows;
mod schema;
mod storage_health;
mod store;
mod writer;

use std::path::PathBuf;

use chat_domain::BoxError;

use crate::group_commit::GroupCommit;

/// A SQLite database: a file, connections that read it, and one that writes.
#[derive(Clone)]
pub struct Database {
    file: file::DatabaseFile,
    pool: pool::Pool,
    writer: writer::Writer,
    commits: GroupCommit,
}

impl Database {
    /// The database in this file. Neither the file nor its folder need exist:
    /// [`Database::migrate`] makes them. Must be called within a tokio runtime,
    /// which stores and writes until the last clone of this is dropped.
    ///
    /// # Errors
    /// When `pool_size` is 0.
    pub fn open(path: PathBuf, pool_size: usize) -> Result<Self, BoxError> {
        let file = file::DatabaseFile::new(path);
        let pool = pool::build(file.clone(), pool_size)?;
        let writer = writer::Writer::start(file.clone());
        let stores = writer.clone();
        // There is one writer: a second lane would only wait for it.
        let commits = GroupCommit::start(1, move || store::SqliteStore::new(stores.clone()));
        Ok(Self {
            file,
            pool,
            writer,
            commits,
        })
    }
}
