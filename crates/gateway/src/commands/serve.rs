//! `chat-gateway serve`: serves in production.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use chat_domain::{BoxError, one_line};
use clap::Command;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::{Config, LogConfig, Migrate, Settings};
use crate::traces::Exporter;
use crate::wiring::{self, Database};
use crate::{logging, open_files, server};

/// How many connections the kernel queues until they are accepted.
const BACKLOG: u32 = 4096;
/// Begins the name of the migration that only a new database lacks.
const FIRST_MIGRATION: &str = "0001_";

pub(super) fn command() -> Command {
    Command::new("serve").about("Serve in production, configured by environment variables or flags")
}

pub(super) async fn run(settings: &Settings) -> Result<ExitCode, BoxError> {
    let config = Config::read(settings)?;
    let log = LogConfig::read(settings)?;
    let exporter = config.traces.as_ref().map(Exporter::start).transpose()?;
    logging::start(log.filter, log.format, exporter.as_ref());
    open_files::raise_limit();
    let sockets = bind(&config).await?;
    if let Some(redis) = &config.redis {
        wiring::check_redis(redis).await?;
    }
    let database = prepare_database(&config).await?.database;
    let (listener, api_listener) = sockets.listen()?;
    let app = wiring::app(config, database, None, api_listener)?;
    let served = server::serve(listener, app, stop_signal()?).await;
    flush(exporter).await;
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Exports the last spans.
pub(super) async fn flush(exporter: Option<Exporter>) {
    if let Some(exporter) = exporter {
        exporter.flush().await;
    }
}

/// A database with the current schema.
pub(super) struct Prepared {
    pub(super) database: Database,
    /// Whether it had no schema before.
    pub(super) is_new: bool,
}

/// Opens the database and applies pending migrations, or refuses if `MIGRATE` is off.
pub(super) async fn prepare_database(config: &Config) -> Result<Prepared, BoxError> {
    let database = open_database(config).await?;
    let mut is_new = false;
    match config.migrate {
        Migrate::On => {
            for name in apply_migrations(&database).await? {
                is_new |= name.starts_with(FIRST_MIGRATION);
                tracing::info!(name, "migration applied");
            }
        }
        Migrate::Off => {
            let pending = pending_migrations(&database).await?;
            if !pending.is_empty() {
                return Err(pending_error(&pending));
            }
        }
    }
    Ok(Prepared { database, is_new })
}

/// Applies the pending migrations and returns their names.
pub(super) async fn apply_migrations(database: &Database) -> Result<Vec<String>, BoxError> {
    database.migrate().await.map_err(|error| {
        let error = one_line(&*error);
        format!(
            "DATABASE_URL: a migration failed and was rolled back: {error}: correct this, then run \
             chat-gateway migrate"
        )
        .into()
    })
}

/// Returns the names of the pending migrations.
pub(super) async fn pending_migrations(database: &Database) -> Result<Vec<String>, BoxError> {
    database.pending_migrations().await.map_err(|error| {
        let error = one_line(&*error);
        format!("DATABASE_URL: the applied migrations cannot be read: {error}: check the database")
            .into()
    })
}

/// Returns the error of a start that finds pending migrations with `MIGRATE=off`.
pub(super) fn pending_error(pending: &[String]) -> BoxError {
    let names = pending.join(", ");
    format!("migrations are pending ({names}): run chat-gateway migrate, or set MIGRATE=on").into()
}

/// Opens the database and checks that it keeps what it commits.
pub(super) async fn open_database(config: &Config) -> Result<Database, BoxError> {
    let database = Database::open(&config.storage)
        .map_err(|error| format!("DATABASE_URL: {}", one_line(&*error)))?;
    if let Some(webhooks) = &config.webhooks {
        database.record(webhooks.kinds);
    }
    database.check_durability().await?;
    Ok(database)
}

/// The ports that are bound.
pub(super) struct Sockets {
    clients: TcpSocket,
    /// `None` if the server API has no port of its own.
    api: Option<TcpSocket>,
}

impl Sockets {
    /// Begins to listen: where the clients are, and where the server API alone is.
    pub(super) fn listen(self) -> io::Result<(TcpListener, Option<TcpListener>)> {
        let api = self.api.map(|socket| socket.listen(BACKLOG));
        Ok((self.clients.listen(BACKLOG)?, api.transpose()?))
    }
}

/// Binds the ports without listening yet, so that a port in use is found before the
/// database is changed.
pub(super) async fn bind(config: &Config) -> Result<Sockets, BoxError> {
    let host = config.host.as_str();
    let api_port = config.api.as_ref().and_then(|api| api.port);
    Ok(Sockets {
        clients: bind_port(host, config.port, "PORT").await?,
        api: match api_port {
            Some(port) => Some(bind_port(host, port, "API_PORT").await?),
            None => None,
        },
    })
}

async fn bind_port(host: &str, port: u16, setting: &str) -> Result<TcpSocket, BoxError> {
    let bound = async {
        let mut addresses = tokio::net::lookup_host((host, port)).await?;
        let address = addresses
            .next()
            .ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Otherwise a restart would wait for the previous process's connections to
        // leave TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok::<_, std::io::Error>(socket)
    };
    bound.await.map_err(|error| {
        format!("cannot listen on {host}:{port}: {error}: check HOST and {setting}").into()
    })
}

/// Completes at the first SIGTERM or Ctrl-C. A second signal ends the process
/// immediately.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>, BoxError> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut any = async move || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        any().await;
        // Ends with the process, which has ten seconds left at most.
        tokio::spawn(async move {
            any().await;
            std::process::exit(1);
        });
    })
}
