//! What the binary can do: one file per command.

mod check_config;
mod dev;
mod healthcheck;
mod loadtest;
mod migrate;
mod serve;
mod token;

use std::process::ExitCode;

use chat_domain::BoxError;
use clap::{ArgMatches, Command};

use crate::config::{Settings, flags};

/// The command line.
pub fn command_line() -> Command {
    Command::new("chat-gateway")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Real-time rooms over Socket.IO; every message is stored before anybody sees it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help("Each flag is also a variable of the environment: --port is PORT.")
        .args(flags())
        .subcommands([
            dev::command(),
            serve::command(),
            migrate::command(),
            token::command(),
            check_config::command(),
            healthcheck::command(),
            loadtest::command(),
        ])
}

/// Does what the command line says; the error's chain is the line to print.
///
/// # Errors
/// Whatever keeps the command from being done.
pub fn run(matches: &ArgMatches) -> Result<ExitCode, BoxError> {
    let (name, arguments) = matches.subcommand().ok_or("which command?")?;
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
            "loadtest" => loadtest::run(&settings, arguments),
            other => Err(format!("there is no command {other}").into()),
        }
    });
    // What still runs has had its deadline.
    runtime.shutdown_background();
    outcome
}
