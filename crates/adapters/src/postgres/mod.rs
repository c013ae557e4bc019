//! The repositories on PostgreSQL.
//!
//! [`Database::open`] makes a pool and touches nothing; [`Database::migrate`]
//! brings the schema up to date under a lock. Every operation has a deadline, and
//! a connection on which one was missed is not used again. What reads, and what moves
//! a read pointer, takes its connection from the pool; what stores messages has its own.

mod durability;
mod errors;
mod message_repository;
mod migrations;
mod pool;
mod room_repository;
mod rows;
mod schema;
mod storage_health;
mod store;
mod tls;
mod url;

use chat_domain::BoxError;

use crate::group_commit::GroupCommit;

pub use durability::Durability;
pub use url::{InvalidUrl, PostgresUrl};

/// How many connections store messages at the most. One is enough while the database
/// is well; the others are opened when it waits for a lock or a commit takes long.
const LANES: usize = 4;

/// A PostgreSQL database: a pool of connections, and the ports on top of it.
#[derive(Clone)]
pub struct Database {
    pool: pool::Pool,
    connector: pool::Connector,
    commits: GroupCommit,
}

impl Database {
    /// A database whose connections are made when they are needed: `pool_size` at the
    /// most, and beside them one that stores (four when something is locked). Must be
    /// called within a tokio runtime, which stores until the last clone of this is
    /// dropped.
    ///
    /// # Errors
    /// When the certificates that the URL names cannot be read.
    pub fn open(url: &PostgresUrl, pool_size: usize) -> Result<Self, BoxError> {
        let connector = pool::Connector::new(url)?;
        let pool = pool::build(connector.clone(), pool_size)?;
        let stores = connector.clone();
        let open = move || store::PostgresStore::new(stores.clone());
        Ok(Self {
            pool,
            connector,
            commits: GroupCommit::start(LANES, open),
        })
    }
}
