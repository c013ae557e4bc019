//! `chat-gateway webhooks`: lists parked webhooks, and resends them.

use std::process::ExitCode;

use chat_domain::ports::{Outbox, ParkedEntry};
use chat_domain::{BoxError, one_line};
use clap::{ArgMatches, Command};

use crate::config::{Settings, StorageConfig};
use crate::wiring::Database;

/// How many parked webhooks are listed.
const LISTED: usize = 1000;

pub(super) fn command() -> Command {
    Command::new("webhooks")
        .about("List parked webhooks, or resend them")
        .subcommand_required(true)
        .subcommands([
            Command::new("list").about("List the webhooks that were given up, and what waits"),
            Command::new("retry")
                .about("Resend parked webhooks and those that wait for a retry, and end a pause"),
        ])
}

pub(super) async fn run(settings: &Settings, arguments: &ArgMatches) -> Result<ExitCode, BoxError> {
    let database = Database::open(&StorageConfig::read(settings)?)
        .map_err(|error| format!("DATABASE_URL: {}", one_line(&*error)))?;
    let outbox = database.outbox();
    let outcome = match arguments.subcommand_name() {
        Some("retry") => retry(&*outbox).await,
        _ => list(&*outbox).await,
    };
    outcome.map_err(|error| one_line(&*error))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(outbox: &dyn Outbox) -> Result<(), BoxError> {
    let backlog = outbox.backlog().await?;
    for entry in outbox.parked(LISTED).await? {
        println!("{}", line(&entry));
    }
    let paused = if backlog.is_paused { ", paused" } else { "" };
    println!(
        "{} parked, {} waiting, the oldest for {} s{paused}",
        backlog.parked,
        backlog.pending,
        backlog.age.as_secs()
    );
    Ok(())
}

async fn retry(outbox: &dyn Outbox) -> Result<(), BoxError> {
    let parked = outbox.retry().await?;
    println!("{parked} parked webhooks are sent again by the running gateways");
    Ok(())
}

/// Describes an entry: separated by tabs, without anything that a user has written.
fn line(entry: &ParkedEntry) -> String {
    let number = match entry.number {
        0 => "-".to_owned(),
        number => number.to_string(),
    };
    let fields = [
        entry.recorded_at.to_string(),
        entry.parked_at.to_string(),
        entry.kind.as_str().to_owned(),
        entry.room_id.to_string(),
        number,
        entry.reason.clone(),
    ];
    fields.join("\t")
}
