//! The sessions that read.
//!
//! A read runs in a task of its own, which owns its session until the query has ended. The
//! caller only waits for the answer: one that is cancelled never returns a busy session to
//! the pool. A session is not used again after any failure: some failures recur on it (the
//! server is shutting down, a cached plan has become invalid), diesel does not pass on the
//! codes that would tell them apart, and a new session costs less than a wrong guess.

use std::pin::Pin;

use chat_domain::ports::PoolStatus;
use chat_domain::{BoxError, StorageError, one_line};
use deadpool::{Runtime, managed::Timeouts};
use diesel::{ConnectionError, QueryResult};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool as pooled,
};
use tokio::time::timeout;

use super::connect::{CONNECT_DEADLINE, Connector, Purpose, STATEMENT_DEADLINE};

/// A query that is being carried out on a session.
type Running<'a, T> = Pin<Box<dyn Future<Output = QueryResult<T>> + Send + 'a>>;

/// A bounded number of sessions, opened when they are needed.
#[derive(Clone)]
pub(super) struct Pool(pooled::Pool<AsyncPgConnection>);

impl Pool {
    pub(super) fn new(connector: Connector, size: usize) -> Result<Self, BoxError> {
        let mut config = ManagerConfig::<AsyncPgConnection>::default();
        // A round trip before each use would cost as much as the use. A connection that
        // broke meanwhile is known to be closed.
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(move |_| {
            let connector = connector.clone();
            Box::pin(async move {
                let connected = connector.connect(Purpose::Read).await;
                // Diesel's error has no source.
                connected.map_err(|e| ConnectionError::BadConnection(one_line(&e)))
            })
        });
        let manager = AsyncDieselConnectionManager::new_with_config("", config);
        let pool = pooled::Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(CONNECT_DEADLINE),
                create: Some(CONNECT_DEADLINE),
                recycle: Some(CONNECT_DEADLINE),
            })
            .build()?;
        Ok(Self(pool))
    }

    /// Returns how the sessions are used now.
    pub(super) fn status(&self) -> PoolStatus {
        let status = self.0.status();
        PoolStatus {
            max: status.max_size,
            open: status.size,
            in_use: status.size.saturating_sub(status.available),
        }
    }

    /// Carries out a query that writes nothing.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, StorageError>
    where
        F: for<'a> FnOnce(&'a mut AsyncPgConnection) -> Running<'a, T> + Send + 'static,
        T: Send + 'static,
    {
        let mut session = self.0.get().await.map_err(StorageError::unavailable)?;
        let reading = tokio::spawn(async move {
            let outcome = match timeout(STATEMENT_DEADLINE, query(&mut session)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) => ReadError::Failed(error),
                Err(_) => ReadError::TimedOut,
            };
            // Closes it. The server ends what it still does after its own timeout.
            drop(pooled::Object::take(session));
            Err(outcome)
        });
        let outcome = reading.await.map_err(StorageError::unavailable)?;
        outcome.map_err(StorageError::unavailable)
    }
}

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("a query took too long")]
    TimedOut,
    #[error("a query failed")]
    Failed(#[source] diesel::result::Error),
}
