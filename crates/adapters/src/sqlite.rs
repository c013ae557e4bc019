//! The repositories on an embedded SQLite.
//!
//! Several connections read; one task writes, on a connection of its own. A write is
//! never cancelled in its middle, so the caller's answer states what happened.

mod acquaintances;
mod change_repository;
mod checkpoint;
mod errors;
mod file;
mod inbox;
mod inbox_query;
mod message_columns;
mod message_import;
mod message_repository;
mod migrations;
mod outbox;
mod pool;
mod room_changes;
mod room_deletion;
mod room_directory;
mod room_repository;
mod rows;
mod sanctions;
mod schema;
mod storage_health;
mod store;
mod user_erasure;
mod user_records;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use chat_domain::BoxError;
use chat_domain::ports::OutboxKinds;

use crate::BatchObserver;
use crate::group_commit::{ChangeQueue, GroupCommit, Lanes};
use crate::import::Importer;

/// A SQLite database: a file, connections that read it, and one that writes it.
#[derive(Clone)]
pub struct Database {
    file: file::DatabaseFile,
    pool: pool::Pool,
    writer: writer::Writer,
    commits: GroupCommit,
    recorded: Arc<OnceLock<OutboxKinds>>,
    imports: Importer<store::SqliteStore>,
    changes: ChangeQueue,
}

impl Database {
    /// Creates a database from the path of its file. Neither the file nor its directory
    /// needs to exist: [`Database::migrate`] creates them. Must be called within a tokio
    /// runtime; its tasks run there until the last clone of the database is dropped.
    ///
    /// # Errors
    /// When `pool_size` is 0.
    pub fn open(path: PathBuf, pool_size: usize) -> Result<Self, BoxError> {
        let file = file::DatabaseFile::new(path);
        let pool = pool::Pool::new(file.clone(), pool_size)?;
        let writer = writer::Writer::start(file.clone());
        let stores = writer.clone();
        let recorded: Arc<OnceLock<OutboxKinds>> = Arc::default();
        let recorded_by_stores = recorded.clone();
        let imports = Importer::new(store::SqliteStore::for_imports(writer.clone()));
        // There is one writer: a second lane would only wait for the first.
        let commits = GroupCommit::start(1, move || {
            store::SqliteStore::new(stores.clone(), recorded_by_stores.clone())
        });
        // For the same reason, a batch of changes takes those of all rooms.
        let lanes = Lanes {
            batches: 1,
            rooms: usize::MAX,
        };
        let changes = change_repository::SqliteChanges {
            writer: writer.clone(),
            recorded: recorded.clone(),
        };
        Ok(Self {
            file,
            pool,
            writer,
            commits,
            recorded,
            imports,
            changes: ChangeQueue::start(changes, lanes),
        })
    }

    /// Sets what observes the batches of messages. Only the first call has an effect.
    pub fn observe_batches(&self, observer: Arc<dyn BatchObserver>) {
        self.imports.observe(observer.clone());
        self.commits.observe(observer);
    }

    /// Sets which events are recorded for the outbox; none before. Only the first call has an
    /// effect.
    pub fn record(&self, kinds: OutboxKinds) {
        self.recorded.set(kinds).ok();
    }

    fn recorded(&self) -> OutboxKinds {
        self.recorded.get().copied().unwrap_or_default()
    }
}
