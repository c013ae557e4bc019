//! Connections that read.

use std::time::Duration;

use chat_domain::{BoxError, StorageError};
use deadpool::{Runtime, managed::Timeouts};
use diesel::{QueryResult, SqliteConnection};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool as pooled,
};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use tokio::time::timeout;

use super::file::DatabaseFile;

pub(super) type Pool = pooled::Pool<SyncConnectionWrapper<SqliteConnection>>;

/// How long a connection may take to be had or made, and how long a query.
const DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn build(file: DatabaseFile, size: usize) -> Result<Pool, BoxError> {
    let mut config = ManagerConfig::<SyncConnectionWrapper<SqliteConnection>>::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |_| {
        let file = file.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || file.open())
                .await
                .unwrap_or_else(|error| {
                    Err(diesel::ConnectionError::BadConnection(error.to_string()))
                })
                .map(SyncConnectionWrapper::new)
        })
    });
    let pool = Pool::builder(AsyncDieselConnectionManager::new_with_config("", config))
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(DEADLINE),
            create: Some(DEADLINE),
            recycle: Some(DEADLINE),
        })
        .build()?;
    Ok(pool)
}

/// Runs a query that stores nothing. If it is too slow or fails, its connection is
/// not used again.
pub(super) async fn read<T, F>(pool: &Pool, query: F) -> Result<T, StorageError>
where
    F: FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    T: Send + 'static,
{
    let mut connection = pool.get().await.map_err(StorageError::unavailable)?;
    match timeout(DEADLINE, connection.spawn_blocking(query)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            drop(pooled::Object::take(connection));
            Err(StorageError::unavailable(error))
        }
        Err(_) => {
            drop(pooled::Object::take(connection));
            Err(StorageError::unavailable("a query took too long"))
        }
    }
}
