//! `chat-gateway kick`: closes a user's connections on all nodes.

use std::process::ExitCode;

use chat_domain::ports::NodeCommand;
use chat_domain::{BoxError, UserId, one_line};
use clap::{Arg, ArgMatches, Command};

use crate::config::{Settings, read_redis};
use crate::wiring;

pub(super) fn command() -> Command {
    Command::new("kick")
        .about("Close a user's connections on all nodes, through Redis")
        .arg(
            Arg::new("user")
                .long("user")
                .help("the user's id")
                .required(true),
        )
}

pub(super) async fn run(settings: &Settings, arguments: &ArgMatches) -> Result<ExitCode, BoxError> {
    let Some(redis) = read_redis(settings)? else {
        return Err("kick reaches the nodes through Redis: set REDIS_URL as for serve".into());
    };
    let user = arguments.get_one::<String>("user");
    let user = user.map(String::as_str).unwrap_or_default();
    let user_id = UserId::new(user).map_err(|error| format!("--user: {error}"))?;
    let command = NodeCommand::DisconnectUser(user_id);
    let nodes = wiring::send_command(&redis, command)
        .await
        .map_err(|error| format!("REDIS_URL: {}", one_line(&error)))?;
    if nodes == 0 {
        return Err(
            "no node received the command: check that gateways run, with this REDIS_URL and \
             REDIS_PREFIX"
                .into(),
        );
    }
    let plural = if nodes == 1 { "" } else { "s" };
    println!("received by {nodes} node{plural}");
    Ok(ExitCode::SUCCESS)
}
