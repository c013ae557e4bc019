//! `chat-gateway kick`: closes a user's connections on all nodes, and revokes its tokens.

use std::process::ExitCode;

use chat_domain::ports::{NodeCommand, NodesUnreachable};
use chat_domain::use_cases::{DisconnectUser, EveryNode, RevokeTokens};
use chat_domain::{BoxError, Disconnection, Timestamp, UserId, one_line};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::{Settings, Source, StorageConfig, read_redis};
use crate::wiring::{self, Database};

const REVOKE: &str = "revoke";
const ISSUED_BEFORE: &str = "issued-before";
const LIFT: &str = "lift";

pub(super) fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("kick")
        .about("Close a user's connections on all nodes, and revoke its tokens")
        .arg(
            Arg::new("user")
                .long("user")
                .help("the user's id")
                .required(true),
        )
        .arg(flag(REVOKE).help("refuse the tokens that were issued to the user until now"))
        .arg(
            Arg::new(ISSUED_BEFORE)
                .long(ISSUED_BEFORE)
                .value_name("TIME")
                .help("until this time instead, such as 2026-01-31T12:00:00Z")
                .requires(REVOKE),
        )
        .arg(
            flag(LIFT)
                .help("accept the user's tokens again")
                .conflicts_with(REVOKE),
        )
}

pub(super) async fn run(settings: &Settings, arguments: &ArgMatches) -> Result<ExitCode, BoxError> {
    let user = arguments.get_one::<String>("user").cloned();
    let user_id =
        UserId::new(user.unwrap_or_default()).map_err(|error| format!("--user: {error}"))?;
    match (arguments.get_flag(REVOKE), arguments.get_flag(LIFT)) {
        (true, _) => revoke(settings, &user_id, arguments).await,
        (_, true) => lift(settings, &user_id).await,
        _ if settings.source("DATABASE_URL") == Source::Default => {
            disconnect_through_redis(settings, user_id).await
        }
        _ => disconnect(settings, &user_id).await,
    }
}

async fn revoke(
    settings: &Settings,
    user_id: &UserId,
    arguments: &ArgMatches,
) -> Result<ExitCode, BoxError> {
    let issued_before = arguments.get_one::<String>(ISSUED_BEFORE);
    let issued_before = issued_before.map(|time| time.parse::<Timestamp>());
    let issued_before = issued_before
        .transpose()
        .map_err(|error| format!("--{ISSUED_BEFORE}: {}", one_line(&error)))?;
    let revoke_tokens = revoke_tokens(settings)?;
    let imposed = revoke_tokens
        .execute(user_id, issued_before)
        .await
        .map_err(|error| one_line(&error))?;
    if let Some(time) = imposed.stored.issued_before {
        println!("tokens issued before {time} are revoked");
    }
    print_told(&imposed.told);
    Ok(ExitCode::SUCCESS)
}

async fn lift(settings: &Settings, user_id: &UserId) -> Result<ExitCode, BoxError> {
    let lifted = revoke_tokens(settings)?.lift(user_id).await;
    match lifted.map_err(|error| one_line(&error))? {
        Some(imposed) => {
            println!("the revocation is lifted");
            print_told(&imposed.told);
        }
        None => println!("nothing was revoked"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn disconnect(settings: &Settings, user_id: &UserId) -> Result<ExitCode, BoxError> {
    let sanctions = database(settings)?.sanctions();
    let disconnect_user = DisconnectUser::new(sanctions, nodes(settings)?);
    let imposed = disconnect_user
        .execute(user_id)
        .await
        .map_err(|error| one_line(&error))?;
    print_told(&imposed.told);
    Ok(ExitCode::SUCCESS)
}

/// Reaches only the nodes that are connected to Redis now.
async fn disconnect_through_redis(
    settings: &Settings,
    user_id: UserId,
) -> Result<ExitCode, BoxError> {
    let Some(redis) = read_redis(settings)? else {
        return Err(
            "kick reaches the nodes through Redis or the database: set REDIS_URL, DATABASE_URL \
             or both as for serve"
                .into(),
        );
    };
    let command = NodeCommand::DisconnectUser(Disconnection {
        user_id,
        number: None,
    });
    let nodes = wiring::node_commands(redis)
        .send(command)
        .await
        .map_err(|error| format!("REDIS_URL: {}", one_line(&error)))?;
    if nodes == 0 {
        return Err(
            "no node received the command: check that gateways run, with this REDIS_URL and \
             REDIS_PREFIX"
                .into(),
        );
    }
    print_told(&Ok(nodes));
    Ok(ExitCode::SUCCESS)
}

fn revoke_tokens(settings: &Settings) -> Result<RevokeTokens, BoxError> {
    let sanctions = database(settings)?.sanctions();
    let nodes = nodes(settings)?;
    Ok(RevokeTokens::new(sanctions, nodes, wiring::clock()))
}

fn database(settings: &Settings) -> Result<Database, BoxError> {
    let database = Database::open(&StorageConfig::read(settings)?)
        .map_err(|error| format!("DATABASE_URL: {}", one_line(&*error)))?;
    Ok(database)
}

fn nodes(settings: &Settings) -> Result<EveryNode, BoxError> {
    let redis = read_redis(settings)?;
    Ok(EveryNode::new(None, redis.map(wiring::node_commands)))
}

fn print_told(told: &Result<u64, NodesUnreachable>) {
    match told {
        Ok(1) => println!("received by 1 node"),
        Ok(nodes @ 2..) => println!("received by {nodes} nodes"),
        Ok(0) | Err(_) => println!("stored: gateways find it within seconds"),
    }
}
