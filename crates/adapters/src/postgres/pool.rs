//! Connections to PostgreSQL, and how long anything on one may take.

use std::future::Future;
use std::time::Duration;

use chat_domain::{BoxError, StorageError};
use deadpool::{Runtime, managed::Timeouts};
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool as pooled,
};
use tokio::time::timeout;
use tokio_postgres::{Client, Connection, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{errors, tls, url::PostgresUrl};

pub(super) type Pool = pooled::Pool<AsyncPgConnection>;
pub(super) type Pooled = pooled::Object<AsyncPgConnection>;
/// The half of a connection that reads and writes.
pub(super) type RawConnection =
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// How long a connection may take to be had or made.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
/// How long a statement, and how long a commit, may take.
pub(super) const STATEMENT_DEADLINE: Duration = Duration::from_secs(5);

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
}

impl Connector {
    pub(super) fn new(url: &PostgresUrl) -> Result<Self, BoxError> {
        let mut config = url.config.clone();
        config
            .connect_timeout(CONNECT_DEADLINE)
            .tcp_user_timeout(Duration::from_secs(10));
        Ok(Self {
            config,
            tls: tls::connector(url)?,
        })
    }

    pub(super) async fn connect(&self) -> ConnectionResult<AsyncPgConnection> {
        let connecting = async {
            let (client, connection) = self.connect_raw().await?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        };
        // The driver's own time-out counts for each address and ends before TLS.
        timeout(CONNECT_DEADLINE, connecting)
            .await
            .unwrap_or_else(|_| Err(ConnectionError::BadConnection("no answer in time".into())))
    }

    /// A connection of the driver's own, to be driven by the caller.
    pub(super) async fn connect_raw(&self) -> ConnectionResult<(Client, RawConnection)> {
        self.config
            .connect(self.tls.clone())
            .await
            .map_err(|error| ConnectionError::BadConnection(errors::with_causes(&error)))
    }
}

pub(super) fn build(connector: Connector, size: usize) -> Result<Pool, BoxError> {
    let mut config = ManagerConfig::<AsyncPgConnection>::default();
    // A round trip before each use would cost as much as the use. A connection
    // that broke meanwhile is known to be closed.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |_| {
        let connector = connector.clone();
        Box::pin(async move { connector.connect().await })
    });
    let pool = Pool::builder(AsyncDieselConnectionManager::new_with_config("", config))
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(CONNECT_DEADLINE),
            create: Some(CONNECT_DEADLINE),
            recycle: Some(CONNECT_DEADLINE),
        })
        .build()?;
    Ok(pool)
}

pub(super) async fn checkout(pool: &Pool) -> Result<Pooled, StorageError> {
    pool.get().await.map_err(StorageError::unavailable)
}

/// Runs what may be run again: a query, or a write that does nothing the second
/// time. If it is too slow, its connection is closed: what it still does is nobody's
/// business.
pub(super) async fn run<T, F>(mut connection: Pooled, query: F) -> Result<T, StorageError>
where
    F: AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
{
    let outcome = in_time(query(&mut connection)).await;
    if matches!(outcome, Err(Failed::TooSlow)) {
        drop(Pooled::take(connection));
    }
    outcome.map_err(StorageError::unavailable)
}

/// Why a statement has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The server may still be busy with it.
    #[error("a statement took too long")]
    TooSlow,
    #[error("a statement failed")]
    Refused(#[source] diesel::result::Error),
}

/// Whether it ended in time and well.
pub(super) async fn in_time<T>(work: impl Future<Output = QueryResult<T>>) -> Result<T, Failed> {
    match timeout(STATEMENT_DEADLINE, work).await {
        Ok(outcome) => outcome.map_err(Failed::Refused),
        Err(_) => Err(Failed::TooSlow),
    }
}
