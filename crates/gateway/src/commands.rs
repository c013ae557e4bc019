//! The commands of the binary, one file each.

mod check_config;
mod dev;
mod healthcheck;
mod kick;
mod loadtest;
mod migrate;
mod rooms;
mod serve;
mod token;
mod webhooks;

use std::process::ExitCode;

use chat_domain::BoxError;
use clap::{ArgMatches, Command};

use crate::config::{Settings, flags};

/// Returns the command line's definition.
pub fn command_line() -> Command {
    Command::new("chat-gateway")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "Real-time rooms over Socket.IO; every message is stored before any client receives it",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "Each flag has an environment variable: --port is PORT. A flag overrides its variable.",
        )
        .args(flags())
        .subcommands([
            dev::command(),
            serve::command(),
            migrate::command(),
            token::command(),
            check_config::command(),
            healthcheck::command(),
            kick::command(),
            loadtest::command(),
            rooms::room_command(),
            rooms::member_command(),
            rooms::ban_command(),
            webhooks::command(),
        ])
}

/// Runs the command that the command line names and returns the exit code.
///
/// # Errors
/// The reason why the command cannot be run. Its chain is the line to print.
pub fn run(matches: &ArgMatches) -> Result<ExitCode, BoxError> {
    let (name, arguments) = matches.subcommand().ok_or("no command")?;
    let settings = Settings::collect(arguments, |name| std::env::var(name).ok());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        match name {
            "dev" => dev::run(settings).await,
            "serve" => serve::run(&settings).await,
            "migrate" => migrate::run(&settings, arguments).await,
            "token" => token::run(&settings, arguments),
            "check-config" => check_config::run(&settings).await,
            "healthcheck" => healthcheck::run(&settings).await,
            "kick" => kick::run(&settings, arguments).await,
            "room" | "member" | "ban" => rooms::run(&settings, name, arguments).await,
            "webhooks" => webhooks::run(&settings, arguments).await,
            "loadtest" => loadtest::run(&settings, arguments),
            other => Err(format!("unknown command {other}").into()),
        }
    });
    // Tasks that are still running have had their deadline.
    runtime.shutdown_background();
    outcome
}
