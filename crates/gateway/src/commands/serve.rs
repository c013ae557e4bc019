//! `chat-gateway serve`: production.

use std::net::SocketAddr;
use std::process::ExitCode;

use chat_domain::BoxError;
use clap::Command;
use tokio::net::TcpSocket;

use crate::config::{Config, LogConfig, Migrate, Settings};
use crate::error_line::one_line;
use crate::wiring::{self, Database};
use crate::{logging, server};

/// How many connections the machine keeps until they are accepted.
pub(super) const BACKLOG: u32 = 4096;

pub(super) fn command() -> Command {
    Command::new("serve").about("Serve, configured by environment or flags")
}

pub(super) async fn run(settings: &Settings) -> Result<ExitCode, BoxError> {
    let log = LogConfig::read(settings)?;
    let config = Config::read(settings)?;
    logging::start(log.filter, log.format);
    let socket = bind(&config).await?;
    let database = prepare_database(&config).await?;
    let listener = socket.listen(BACKLOG)?;
    server::serve(
        listener,
        wiring::app(config, database, None),
        stop_signal()?,
    )
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// Opens the database and brings it up to date, or says what is in the way.
pub(super) async fn prepare_database(config: &Config) -> Result<Database, BoxError> {
    let database = open_database(config).await?;
    match config.migrate {
        Migrate::On => {
            let applied = database.migrate().await.map_err(|error| {
                format!("DATABASE_URL: the migrations failed: {}", one_line(&*error))
            })?;
            for name in applied {
                tracing::info!(name, "migration applied");
            }
        }
        Migrate::Off => {
            let pending = database.pending_migrations().await?;
            if !pending.is_empty() {
                let names = pending.join(", ");
                return Err(format!(
                    "migrations are pending ({names}): run chat-gateway migrate, or set MIGRATE=on"
                )
                .into());
            }
        }
    }
    Ok(database)
}

/// Opens the database and asks whether it can be trusted.
pub(super) async fn open_database(config: &Config) -> Result<Database, BoxError> {
    let database = Database::open(&config.storage)
        .map_err(|error| format!("DATABASE_URL: {}", one_line(&*error)))?;
    database.check_durability().await?;
    Ok(database)
}

/// Takes the port, without listening yet: one that is taken is found before the
/// database is changed.
pub(super) async fn bind(config: &Config) -> Result<TcpSocket, BoxError> {
    let (host, port) = (config.host.as_str(), config.port);
    let bound = async {
        let mut addresses = tokio::net::lookup_host((host, port)).await?;
        let address = addresses
            .next()
            .ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A port that the last process has just left is free.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok::<_, std::io::Error>(socket)
    };
    bound.await.map_err(|error| {
        format!("cannot listen on {host}:{port}: {error}: check HOST and PORT").into()
    })
}

/// Done at the first SIGTERM or Ctrl-C; a second one ends the process at once.
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
        // Lives as long as the process, which is short from here on.
        tokio::spawn(async move {
            any().await;
            std::process::exit(1);
        });
    })
}
