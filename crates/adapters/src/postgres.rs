//! The repositories on PostgreSQL.
//!
//! [`Database::open`] creates a pool and connects to nothing; [`Database::migrate`] brings
//! the schema up to date under a lock. Every operation has a deadline. What reads takes its
//! session from the pool; what stores messages and moves read pointers has sessions of its
//! own.

mod acquaintances;
mod change_repository;
mod connect;
mod durability;
mod inbox;
mod inbox_query;
mod message_columns;
mod message_import;
mod message_repository;
mod migrations;
mod outbox;
mod page_query;
mod pool;
mod room_changes;
mod room_deletion;
mod room_directory;
mod room_repository;
mod rows;
mod sanctions;
mod schema;
mod statement;
mod storage_health;
mod store;
mod tls;
mod url;
mod user_erasure;
mod user_records;

use std::sync::Arc;

use chat_domain::BoxError;
use chat_domain::ports::OutboxKinds;

use crate::BatchObserver;
use crate::group_commit::{ChangeQueue, GroupCommit, Lanes};
use crate::import::Importer;

pub use durability::Durability;
pub use url::{InvalidUrl, PostgresUrl};

/// The maximum number of sessions that store messages. One is enough in normal operation;
/// the others are opened when the database waits for a lock or a commit takes long.
const LANES: usize = 4;

/// A PostgreSQL database: a pool of sessions, and the ports on top of it.
#[derive(Clone)]
pub struct Database {
    pool: pool::Pool,
    connector: connect::Connector,
    commits: GroupCommit,
    imports: Importer<store::PostgresStore>,
    changes: ChangeQueue,
    pruning: room_changes::Pruning,
}

impl Database {
    /// Creates a database whose sessions are opened when they are needed: at most
    /// `pool_size`, one more that stores messages (four while something is locked), one that
    /// moves read pointers, and one for imports. Must be called within a tokio runtime; its tasks run
    /// there until the last clone of the database is dropped.
    ///
    /// # Errors
    /// When the certificates that the URL names cannot be read.
    pub fn open(url: &PostgresUrl, pool_size: usize) -> Result<Self, BoxError> {
        let connector = connect::Connector::new(url)?;
        let pool = pool::Pool::new(connector.clone(), pool_size)?;
        let (stores, names) = (connector.clone(), store::Names::default());
        let imports = store::PostgresStore::new(connector.without_outbox(), names.clone());
        let open = move || store::PostgresStore::new(stores.clone(), names.clone());
        // One batch waits for the lock of one room. It must not take the sessions away from the
        // reads of all rooms.
        let lanes = Lanes {
            batches: (pool_size / 2).max(1),
            rooms: 1,
        };
        let changes = change_repository::PostgresChanges(pool.clone());
        Ok(Self {
            pool,
            connector,
            imports: Importer::new(imports),
            commits: GroupCommit::start(LANES, open),
            changes: ChangeQueue::start(changes, lanes),
            pruning: room_changes::Pruning::default(),
        })
    }

    /// Sets what observes the batches of messages. Only the first call has an effect.
    pub fn observe_batches(&self, observer: Arc<dyn BatchObserver>) {
        self.imports.observe(observer.clone());
        self.commits.observe(observer);
    }

    /// Sets which events are recorded for the outbox; none before. Must be called before the
    /// first session is opened. Only the first call has an effect.
    pub fn record(&self, kinds: OutboxKinds) {
        self.connector.record(kinds);
    }
}
