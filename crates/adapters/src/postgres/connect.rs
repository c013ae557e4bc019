//! Opens every session: its address, deadlines, keepalives, settings and checks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chat_domain::BoxError;
use chat_domain::ports::{OutboxKind, OutboxKinds};
use diesel_async::AsyncPgConnection;
use tokio::time::timeout;
use tokio_postgres::{Client, Connection, Error, SimpleQueryMessage, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{tls, url::PostgresUrl};

/// The half of a session that reads from and writes to its connection.
pub(super) type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// How long it may take until a session is ready.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
/// How long a caller waits for a statement, and for a commit.
pub(super) const STATEMENT_DEADLINE: Duration = Duration::from_secs(5);

/// How long the server works on a statement. It is less than [`STATEMENT_DEADLINE`], so
/// that the server gives up first: the outcome is certain, the locks are released, and no
/// backend stays busy with what no caller waits for.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(4500);
/// How long a read waits for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a batch waits for a lock before its messages wait on a lane of their own.
const ROOM_LOCK_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a migration waits for a lock, for example for another process that migrates.
const MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a transaction whose client is unreachable keeps its locks.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long sent data may stay unacknowledged before the connection counts as broken.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// When an idle connection is probed, how often, and how many probes may be lost. A
/// firewall that forgets idle connections does so after minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// The driver's default for [`KEEPALIVE_IDLE`].
const DRIVER_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Queries that write nothing.
    Read,
    /// Transactions that store messages and move read pointers. Refuses a read-only
    /// database.
    Store,
    /// Migrations, which take as long as they need.
    Migrate,
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Unreachable(Error),
    #[error("no answer in time")]
    TimedOut,
    #[error(transparent)]
    Setup(BoxError),
    #[error(
        "the database's encoding is {0}, and must be UTF8: create a database with \
         ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding(String),
    #[error("the database is read-only")]
    ReadOnly,
}

/// Opens sessions.
#[derive(Clone)]
pub(super) struct Connector {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    /// What the sessions record for the outbox, once it is set.
    recorded: Arc<OnceLock<OutboxKinds>>,
}

impl Connector {
    pub(super) fn new(url: &PostgresUrl) -> Result<Self, BoxError> {
        let mut config = url.config.clone();
        config
            .connect_timeout(CONNECT_DEADLINE)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        // What the URL sets takes precedence.
        if config.get_keepalives_idle() == DRIVER_KEEPALIVE_IDLE {
            config.keepalives_idle(KEEPALIVE_IDLE);
        }
        let interval = config.get_keepalives_interval();
        config.keepalives_interval(interval.unwrap_or(KEEPALIVE_INTERVAL));
        let retries = config.get_keepalives_retries();
        config.keepalives_retries(retries.unwrap_or(KEEPALIVE_RETRIES));
        Ok(Self {
            config,
            tls: tls::connector(url)?,
            recorded: Arc::default(),
        })
    }

    /// Returns a connector to the same database whose sessions record nothing.
    pub(super) fn without_outbox(&self) -> Self {
        Self {
            recorded: Arc::default(),
            ..self.clone()
        }
    }

    /// Sets what the sessions that are opened from now on record. Only the first call has an
    /// effect.
    pub(super) fn record(&self, kinds: OutboxKinds) {
        self.recorded.set(kinds).ok();
    }

    /// Opens a session for diesel, which drives its connection.
    pub(super) async fn connect(
        &self,
        purpose: Purpose,
    ) -> Result<AsyncPgConnection, ConnectError> {
        let connecting = async {
            let (client, driver) = self.connect_unbounded(purpose).await?;
            AsyncPgConnection::try_from_client_and_connection(client, driver)
                .await
                .map_err(|error| ConnectError::Setup(error.into()))
        };
        in_time(connecting).await
    }

    /// Opens a session whose connection the caller drives.
    pub(super) async fn connect_raw(
        &self,
        purpose: Purpose,
    ) -> Result<(Client, Driver), ConnectError> {
        in_time(self.connect_unbounded(purpose)).await
    }

    async fn connect_unbounded(&self, purpose: Purpose) -> Result<(Client, Driver), ConnectError> {
        let connecting = self.config.connect(self.tls.clone());
        let (client, mut driver) = connecting.await.map_err(ConnectError::Unreachable)?;
        let recorded = self.recorded.get().copied().unwrap_or_default();
        let setup = tokio::select! {
            setup = set_up(&client, purpose, recorded) => setup,
            ended = &mut driver => match ended {
                Ok(()) => Err(ConnectError::Setup("the connection was closed".into())),
                Err(error) => Err(ConnectError::Unreachable(error)),
            },
        };
        setup.map(|()| (client, driver))
    }
}

async fn in_time<T>(
    connecting: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    // The driver's own deadline counts for each address, and ends before TLS.
    timeout(CONNECT_DEADLINE, connecting)
        .await
        .unwrap_or(Err(ConnectError::TimedOut))
}

/// Applies the settings and checks the database, in one round trip.
async fn set_up(
    client: &Client,
    purpose: Purpose,
    recorded: OutboxKinds,
) -> Result<(), ConnectError> {
    let sql = purpose.settings()
        + &recording(recorded)
        + "; SHOW server_encoding; SHOW transaction_read_only";
    let answers = client.simple_query(&sql).await;
    let answers = answers.map_err(|error| ConnectError::Setup(error.into()))?;
    let mut values = answers.iter().filter_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let (encoding, is_read_only) = (values.next(), values.next());
    if encoding != Some("UTF8") {
        let encoding = encoding.unwrap_or("unknown").to_owned();
        return Err(ConnectError::Encoding(encoding));
    }
    // A standby is read-only too.
    if purpose == Purpose::Store && is_read_only != Some("off") {
        return Err(ConnectError::ReadOnly);
    }
    Ok(())
}

/// Returns what makes the triggers record; nothing if nothing is recorded.
fn recording(kinds: OutboxKinds) -> String {
    let names: Vec<&str> = OutboxKind::REPORTED
        .into_iter()
        .filter(|kind| kinds.contains(*kind))
        .map(OutboxKind::as_str)
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; SET chat.outbox = '{}'", names.join(",")),
    }
}

impl Purpose {
    /// Returns the settings of a session.
    fn settings(self) -> String {
        let (statement, lock) = match self {
            Self::Read => (STATEMENT_TIMEOUT, LOCK_TIMEOUT),
            Self::Store => (STATEMENT_TIMEOUT, ROOM_LOCK_TIMEOUT),
            Self::Migrate => (Duration::ZERO, MIGRATION_LOCK_TIMEOUT),
        };
        // A stricter level, which may be the database's default, would refuse instead of wait.
        // No table is read as a whole: plans are made once, perhaps while the tables are
        // empty.
        let plans = match self {
            Self::Read | Self::Store => {
                "; SET default_transaction_isolation = 'read committed'; \
                 SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
                 SET jit = off"
            }
            Self::Migrate => "",
        };
        format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}{plans}",
            statement.as_millis(),
            lock.as_millis(),
            IDLE_IN_TRANSACTION_TIMEOUT.as_millis(),
        )
    }
}
