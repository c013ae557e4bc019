//! The repositories on PostgreSQL.
//!
//! [`Database::open`] makes a pool and touches nothing; [`Database::migrate`]
//! brings the schema up to date under a lock. Every operation has a deadline, and
//! a connection on which one was missed is not used again.

mod durability;
mod errors;
mod message_repository;
mod migrations;
mod pool;
mod room_repository;
mod rows;
mod schema;
mod tls;
mod url;

use chat_domain::BoxError;

pub use durability::Durability;
pub use url::{InvalidUrl, PostgresUrl};

/// A PostgreSQL database: a pool of connections, and the ports on top of it.
#[derive(Clone)]
pub struct Database {
    pool: pool::Pool,
    connector: pool::Connector,
}

impl Database {
    /// A database whose connections are made when they are needed, `pool_size`
    /// at the most.
    ///
    /// # Errors
    /// When the certificates that the URL names cannot be read.
    pub fn open(url: &PostgresUrl, pool_size: usize) -> Result<Self, BoxError> {
        let connector = pool::Connector::new(url)?;
        let pool = pool::build(connector.clone(), pool_size)?;
        Ok(Self { pool, connector })
    }
}
