//! `chat-gateway migrate`: applies the pending migrations.

use std::process::ExitCode;

use chat_domain::{BoxError, one_line};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::serve;
use crate::config::{LogConfig, Settings, StorageConfig};
use crate::logging;
use crate::wiring::Database;

const DRY_RUN: &str = "dry-run";

pub(super) fn command() -> Command {
    Command::new("migrate")
        .about("Apply pending migrations and print their names")
        .arg(
            Arg::new(DRY_RUN)
                .long(DRY_RUN)
                .action(ArgAction::SetTrue)
                .help("Only print the pending migrations"),
        )
}

pub(super) async fn run(settings: &Settings, arguments: &ArgMatches) -> Result<ExitCode, BoxError> {
    let log = LogConfig::read(settings)?;
    logging::start(log.filter, log.format, None);
    let database = Database::open(&StorageConfig::read(settings)?)
        .map_err(|error| format!("DATABASE_URL: {}", one_line(&*error)))?;
    let pending = serve::pending_migrations(&database).await?;
    let (verb, names) = if arguments.get_flag(DRY_RUN) {
        ("pending", pending)
    } else {
        ("applied", serve::apply_migrations(&database).await?)
    };
    if names.is_empty() {
        println!("up to date");
    }
    for name in names {
        println!("{verb} {name}");
    }
    Ok(ExitCode::SUCCESS)
}
