//! The sessions that read, and make calls that are rare or small.
//!
//! A read runs in a task of its own, which owns its session until the query has ended. The
//! caller only waits for the answer: one that is cancelled never returns a busy session to
//! the pool. A session is not used again after any failure: some failures recur on it (the
//! server is shutting down, a cached plan has become invalid), diesel does not pass on the
//! codes that would tell them apart, and a new session costs less than a wrong guess.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use chat_domain::ports::PoolStatus;
use chat_domain::{BoxError, StorageError, one_line};
use deadpool::{Runtime, managed::Timeouts};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::{ConnectionError, QueryResult};
use diesel_async::methods::LoadQuery;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool as pooled,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::TryStreamExt as _;
use tokio::time::timeout;

use super::connect::{CONNECT_DEADLINE, Connector, Purpose, STATEMENT_DEADLINE};
use crate::group_commit::StoreError;

/// A call that the server refuses after this time has waited for a lock, or for the server: its
/// parameters are not at fault. Diesel does not pass on the code that would say so.
const WAITED: Duration = Duration::from_secs(1);

/// A query that is being carried out on a session.
type Running<'a, T> = Pin<Box<dyn Future<Output = QueryResult<T>> + Send + 'a>>;

/// A bounded number of sessions, opened when they are needed.
#[derive(Clone)]
pub(super) struct Pool {
    sessions: pooled::Pool<AsyncPgConnection>,
}

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
        Ok(Self { sessions: pool })
    }

    /// Returns how the sessions are used now.
    pub(super) fn status(&self) -> PoolStatus {
        let status = self.sessions.status();
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
        let mut session = self
            .sessions
            .get()
            .await
            .map_err(StorageError::unavailable)?;
        let reading = tokio::spawn(async move {
            let outcome = match timeout(STATEMENT_DEADLINE, query(&mut session)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) => QueryError::Failed(error),
                Err(_) => QueryError::TimedOut,
            };
            // Closes it. The server ends what it still does after its own timeout.
            drop(pooled::Object::take(session));
            Err(outcome)
        });
        let outcome = reading.await.map_err(StorageError::unavailable)?;
        outcome.map_err(StorageError::unavailable)
    }

    /// Calls a function that may write, in autocommit, and returns its row, if it has one. As
    /// [`call_for_rows`](Self::call_for_rows).
    pub(super) async fn call<R, Q>(&self, call: Q) -> Result<Option<R>, StorageError>
    where
        Q: for<'a> LoadQuery<'static, AsyncPgConnection, R> + Send + 'static,
        R: Send + 'static,
    {
        Ok(self.call_for_rows(call).await?.pop())
    }

    /// Calls a function that may write, in autocommit, and returns its rows. The call is carried
    /// out even if its caller is dropped.
    ///
    /// An error that the server reports before a row is a rollback. After a row, which precedes
    /// the commit, and without an answer, the outcome is unknown.
    pub(super) async fn call_for_rows<R, Q>(&self, call: Q) -> Result<Vec<R>, StorageError>
    where
        Q: for<'a> LoadQuery<'static, AsyncPgConnection, R> + Send + 'static,
        R: Send + 'static,
    {
        let outcome = self.carry_out(call).await;
        outcome.map_err(|failure| match failure {
            CallFailure::Refused(error) => StorageError::unavailable(error),
            CallFailure::Other(error) => error,
        })
    }

    /// As [`call_for_rows`](Self::call_for_rows), for a batch, one of whose items may be at fault.
    pub(super) async fn call_for_batch<R, Q>(&self, call: Q) -> Result<Vec<R>, StoreError>
    where
        Q: for<'a> LoadQuery<'static, AsyncPgConnection, R> + Send + 'static,
        R: Send + 'static,
    {
        let began = Instant::now();
        let outcome = self.carry_out(call).await;
        outcome.map_err(|failure| match failure {
            CallFailure::Refused(error) if began.elapsed() < WAITED => StoreError::row(error),
            CallFailure::Refused(error) => StoreError::Whole(StorageError::unavailable(error)),
            CallFailure::Other(error) => StoreError::Whole(error),
        })
    }

    async fn carry_out<R, Q>(&self, call: Q) -> Result<Vec<R>, CallFailure>
    where
        Q: for<'a> LoadQuery<'static, AsyncPgConnection, R> + Send + 'static,
        R: Send + 'static,
    {
        let session = self.sessions.get().await;
        let mut session = session.map_err(StorageError::unavailable)?;
        let calling = tokio::spawn(async move {
            let mut found = Vec::new();
            let answer = async {
                let mut rows = pin!(call.load_stream(&mut session).await?);
                while let Some(next) = rows.try_next().await? {
                    found.push(next);
                }
                Ok(())
            };
            let error = match timeout(STATEMENT_DEADLINE, answer).await {
                Ok(Ok(())) => return Ok(found),
                Ok(Err(error)) => QueryError::Failed(error),
                Err(_) => QueryError::TimedOut,
            };
            drop(pooled::Object::take(session));
            Err(match error.is_reported() && found.is_empty() {
                true => CallFailure::Refused(error),
                false => StorageError::outcome_unknown(error).into(),
            })
        });
        calling.await.map_err(StorageError::outcome_unknown)?
    }
}

/// Why a call has no rows.
enum CallFailure {
    /// The server has refused it: it has no effect.
    Refused(QueryError),
    Other(StorageError),
}

impl From<StorageError> for CallFailure {
    fn from(error: StorageError) -> Self {
        Self::Other(error)
    }
}

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("a query took too long")]
    TimedOut,
    #[error("a query failed")]
    Failed(#[source] Error),
}

impl QueryError {
    /// Returns whether the server reports the error.
    fn is_reported(&self) -> bool {
        use DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};

        matches!(
            self,
            Self::Failed(Error::DatabaseError(kind, _))
                if !matches!(kind, ClosedConnection | UnableToSendCommand)
        )
    }
}
