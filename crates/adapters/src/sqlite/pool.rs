//! The connections that read.
//!
//! A read runs on a thread of its own, which owns its connection until the query has
//! ended. The caller only waits for the answer: a caller that is cancelled, or that
//! misses the deadline, neither blocks a thread of the runtime nor hands a busy
//! connection to the next read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chat_domain::ports::PoolStatus;
use chat_domain::{BoxError, StorageError};
use diesel::SqliteConnection;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::file::DatabaseFile;

/// How long a read waits for a connection, and then for its result.
const DEADLINE: Duration = Duration::from_secs(5);

/// A bounded number of connections, opened when they are needed.
#[derive(Clone)]
pub(super) struct Pool(Arc<Connections>);

struct Connections {
    file: DatabaseFile,
    /// One for each connection. A query holds its permit until it has ended, so queries
    /// whose callers are gone count too.
    permits: Arc<Semaphore>,
    size: usize,
    idle: Mutex<Vec<SqliteConnection>>,
    deadline: Duration,
}

impl Pool {
    /// Creates a pool of at most `size` connections to the file.
    ///
    /// # Errors
    /// When `size` is 0.
    pub(super) fn new(file: DatabaseFile, size: usize) -> Result<Self, BoxError> {
        Self::with_deadline(file, size, DEADLINE)
    }

    fn with_deadline(
        file: DatabaseFile,
        size: usize,
        deadline: Duration,
    ) -> Result<Self, BoxError> {
        if size == 0 {
            return Err("the pool needs at least one connection".into());
        }
        let size = size.min(Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Connections {
            file,
            permits: Arc::new(Semaphore::new(size)),
            size,
            idle: Mutex::default(),
            deadline,
        })))
    }

    /// Returns how the connections are used now.
    pub(super) fn status(&self) -> PoolStatus {
        let Connections { permits, size, .. } = &*self.0;
        let in_use = size - permits.available_permits();
        PoolStatus {
            max: *size,
            open: in_use + self.0.idle().len(),
            in_use,
        }
    }

    /// Runs a query that writes nothing. Its connection is not used again if the query
    /// failed, panicked or was too slow.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, StorageError>
    where
        F: FnOnce(&mut SqliteConnection) -> Result<T, StorageError> + Send + 'static,
        T: Send + 'static,
    {
        let deadline = self.0.deadline;
        let permit = timeout(deadline, self.0.permits.clone().acquire_owned())
            .await
            .map_err(|_| StorageError::unavailable("all connections to the database are busy"))?
            .map_err(StorageError::unavailable)?;
        let connections = self.0.clone();
        let reading = spawn_blocking(move || {
            let _permit = permit;
            connections.read(query)
        });
        match timeout(deadline, reading).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(StorageError::unavailable(panic)),
            Err(_) => Err(StorageError::unavailable("a query took too long")),
        }
    }
}

impl Connections {
    fn read<T>(
        &self,
        query: impl FnOnce(&mut SqliteConnection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let since = Instant::now();
        let idle = self.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.file.open().map_err(StorageError::unavailable)?,
        };
        let found = query(&mut connection)?;
        if since.elapsed() < self.deadline {
            self.idle().push(connection);
        }
        Ok(found)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
