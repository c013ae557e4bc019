//! `chat-gateway room`, `member` and `ban`: rooms and their members, from a shell.
//!
//! They write to the database. The nodes find the change within a second.

use std::process::ExitCode;

use chat_domain::ports::{RoomSettings, SettingsPatch};
use chat_domain::use_cases::{
    Actor, ChangeRules, DeleteRoom, Permits, RoomDeleted, RulesChange, RulesRequest,
};
use chat_domain::{
    BoxError, Member, Role, RoomId, RoomKind, RoomName, RoomRules, Sanction, UserId, one_line,
};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::config::{Settings, StorageConfig, read_room_default, read_webhook_kinds};
use crate::wiring::Database;

/// How many members are read at once.
const PAGE: usize = 200;

pub(super) fn room_command() -> Command {
    Command::new("room")
        .about("Create, show and delete rooms")
        .subcommand_required(true)
        .subcommands([
            Command::new("create")
                .about("Create a room with rules, or change its rules")
                .arg(room())
                .arg(kind())
                .arg(
                    Arg::new("name")
                        .long("name")
                        .help("the room's name, 1 to 255 characters"),
                ),
            Command::new("show").about("Show a room").arg(room()),
            Command::new("delete")
                .about("Delete a room: at once for its users, in the background what it contains")
                .arg(room()),
        ])
}

pub(super) fn member_command() -> Command {
    let role = Arg::new("role")
        .long("role")
        .help("the member's role")
        .value_parser(PossibleValuesParser::new(Role::ALL.map(Role::as_str)))
        .default_value(Role::Member.as_str());
    Command::new("member")
        .about("Add, remove and list the members of a room")
        .subcommand_required(true)
        .subcommands([
            Command::new("add")
                .about("Add a member, or change its role")
                .args([room(), user(), role]),
            Command::new("remove")
                .about("Remove a member")
                .args([room(), user()]),
            Command::new("list").about("List the members").arg(room()),
        ])
}

pub(super) fn ban_command() -> Command {
    Command::new("ban")
        .about("Ban a user from a room, and end its membership")
        .args([room(), user()])
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .help("how long the ban lasts; without it, until it is lifted")
                .value_parser(value_parser!(u32).range(1..)),
        )
}

fn room() -> Arg {
    Arg::new("room")
        .long("room")
        .help("the room's number")
        .value_parser(value_parser!(u64))
        .required(true)
}

fn user() -> Arg {
    Arg::new("user")
        .long("user")
        .help("the user's id")
        .required(true)
}

fn kind() -> Arg {
    Arg::new("kind")
        .long("kind")
        .help("who may join")
        .value_parser(PossibleValuesParser::new(
            RoomKind::ALL.map(RoomKind::as_str),
        ))
}

pub(super) async fn run(
    settings: &Settings,
    name: &str,
    arguments: &ArgMatches,
) -> Result<ExitCode, BoxError> {
    let database = Database::open(&StorageConfig::read(settings)?)
        .map_err(|error| format!("DATABASE_URL: {}", one_line(&*error)))?;
    database.record(read_webhook_kinds(settings)?);
    let (action, arguments) = arguments.subcommand().unwrap_or(("", arguments));
    let room_id = arguments.get_one::<u64>("room").copied();
    let room_id =
        RoomId::new(room_id.unwrap_or_default()).map_err(|error| format!("--room: {error}"))?;
    if (name, action) == ("room", "delete") {
        return delete(&database.delete_room(), room_id).await;
    }
    let permits = Permits::new(database.directory(), read_room_default(settings)?);
    let request = match (name, action) {
        ("room", "show") => return show(&permits, room_id).await,
        ("member", "list") => return list(&permits, room_id).await,
        ("room", _) => RulesRequest::Settings(patch(arguments)?),
        ("member", "add") => user_request(arguments, RulesChange::Role(role_of(arguments)))?,
        ("member", _) => user_request(arguments, RulesChange::Remove)?,
        _ => {
            let seconds = arguments.get_one::<u32>("seconds").copied();
            user_request(arguments, RulesChange::Ban(Sanction::lasting(seconds)))?
        }
    };
    let change_rules = ChangeRules::new(permits);
    let changed = change_rules
        .execute(Actor::Product, room_id, &request)
        .await
        .map_err(|error| one_line(&error))?;
    match request {
        RulesRequest::Settings(_) => print_room(room_id, &changed.settings),
        RulesRequest::User { user_id, .. } => match changed.member {
            Some(member) => print_member(&member),
            None => println!("{user_id} is not a member"),
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn user_request(arguments: &ArgMatches, change: RulesChange) -> Result<RulesRequest, BoxError> {
    let user = arguments.get_one::<String>("user").cloned();
    let user_id =
        UserId::new(user.unwrap_or_default()).map_err(|error| format!("--user: {error}"))?;
    Ok(RulesRequest::User { user_id, change })
}

fn patch(arguments: &ArgMatches) -> Result<SettingsPatch, BoxError> {
    let kind = arguments.get_one::<String>("kind");
    let name = arguments.get_one::<String>("name").cloned();
    let name = name.map(RoomName::new).transpose();
    Ok(SettingsPatch {
        kind: kind.and_then(|kind| RoomKind::from_name(kind)),
        name: name.map_err(|error| format!("--name: {error}"))?,
        ..SettingsPatch::default()
    })
}

fn role_of(arguments: &ArgMatches) -> Role {
    let role = arguments.get_one::<String>("role");
    // The parser of the arguments accepts no other.
    role.and_then(|role| Role::from_name(role))
        .unwrap_or(Role::Member)
}

async fn delete(delete_room: &DeleteRoom, room_id: RoomId) -> Result<ExitCode, BoxError> {
    let deleted = delete_room.execute(room_id).await;
    match deleted.map_err(|error| one_line(&error))? {
        RoomDeleted::Closed => println!("room {room_id} is closed; the gateways delete it"),
        RoomDeleted::AlreadyClosed => println!("room {room_id} is being deleted"),
        RoomDeleted::NotFound => println!("room {room_id} does not exist"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(permits: &Permits, room_id: RoomId) -> Result<ExitCode, BoxError> {
    let snapshot = permits.snapshot(room_id, &[]).await;
    let snapshot = snapshot.map_err(|error| one_line(&error))?;
    match &snapshot.settings {
        _ if snapshot.is_closed() => println!("room {room_id} is being deleted"),
        Some(settings) => print_room(room_id, settings),
        None => println!("room {room_id} has no rules"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(permits: &Permits, room_id: RoomId) -> Result<ExitCode, BoxError> {
    let mut after = None;
    loop {
        let page = permits.members(room_id, after, PAGE).await;
        let page = page.map_err(|error| one_line(&error))?;
        page.members.iter().for_each(print_member);
        after = page.members.last().map(|member| member.user.id.clone());
        if !page.has_more {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn print_room(room_id: RoomId, settings: &RoomSettings) {
    let RoomRules {
        kind,
        frozen,
        slow_mode_seconds,
    } = settings.rules;
    println!("room {room_id}");
    println!("kind {}", kind.as_str());
    if let Some(name) = &settings.name {
        println!("name {}", name.as_str());
    }
    println!("frozen {frozen}");
    println!("slow mode {slow_mode_seconds} s");
    println!("members {}", settings.member_count);
}

fn print_member(member: &Member) {
    println!("{} {}", member.user.id, member.role.as_str());
}
