//! `chat-gateway loadtest`: drives any server that speaks the wire contract, and says how
//! fast it is and whether everything arrived, once and in order.
//!
//! | scenario | what |
//! |---|---|
//! | s1 | closed loop: every sender in rooms of its own, with a fixed number of messages in flight |
//! | s2 | one room: a closed loop of a few senders; then more and more messages a second until two steps fail; then half of the best |
//! | s3 | connections that do nothing: how fast they are made, what they cost |
//! | s4 | small rooms, messages at random times: the highest rate with a bounded p99 |
//! | s5 | pages of a room's history, one after the other: at its end, in its middle, at its beginning |
//!
//! Latency is the time from when a message is due (sent, in a closed loop) until a
//! `newMessage` arrives, of all deliveries. A message is acknowledged when it comes back to
//! its sender, which every server of the founding contract does. How the figures are
//! called in JSON: [`report::Report`].

mod client;
mod content;
mod frames;
mod generator;
mod histogram;
mod ledger;
mod measure;
mod order;
mod packets;
mod plan;
mod process;
mod report;
mod scenarios;
mod target;

use std::process::ExitCode;

use chat_domain::BoxError;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::generator::Generator;
use self::measure::Meter;
use self::plan::Scenario;
use self::process::Processes;
use self::target::{Target, Tokens};
use crate::config::Settings;

/// Files that are open beside the connections.
const OTHER_FILES: u64 = 64;

pub(super) fn command() -> Command {
    let argument = |name: &'static str, help| Arg::new(name).long(name).help(help);
    let process = |name, help| {
        argument(name, help)
            .value_name("PID")
            .value_parser(value_parser!(u32))
    };
    Command::new("loadtest")
        .about("Put a server under load and say how it did")
        .after_help(
            "s1: senders with rooms of their own and messages in flight. s2: one room, until it is too \
             much. s3: idle connections. s4: small rooms, messages at random times, until the p99 \
             is too high. s5: pages of a room that has messages.\n\n\
             Tokens of the users 1, 2, 3 … are signed with JWT_SECRET. Turn the server's limits \
             off (MESSAGE_RATE=0), or they are what is measured.\n\n\
             Exit code 0 only if nothing was missing, doubled or misordered, and no connection \
             lost.",
        )
        // Apart from the settings, which every command knows.
        .next_help_heading("Load")
        .arg(
            argument("url", "the server")
                .value_name("URL")
                .default_value("http://127.0.0.1:3001"),
        )
        .args(plan::flags())
        .arg(argument("tokens-file", "a token a line, instead of JWT_SECRET").value_name("PATH"))
        .arg(process(
            "server-pid",
            "measure this process's CPU time and memory",
        ))
        .arg(process(
            "database-pid",
            "and the CPU time of this one and its children",
        ))
        .arg(argument("json", "print the result as JSON").action(ArgAction::SetTrue))
}

pub(super) fn run(settings: &Settings, arguments: &ArgMatches) -> Result<ExitCode, BoxError> {
    let text = |name| arguments.get_one::<String>(name).map(String::as_str);
    let scenario = Scenario::read(arguments)?;
    let target = Target::parse(text("url").unwrap_or_default())?;
    let tokens = match text("tokens-file") {
        None => Tokens::minted(settings)?,
        Some(path) => {
            let listed = std::fs::read_to_string(path)
                .map_err(|error| error.to_string())
                .and_then(|text| Tokens::listed(&text, scenario.connections()));
            listed.map_err(|error| format!("--tokens-file {path}: {error}"))?
        }
    };
    let process = |name| arguments.get_one::<u32>(name).copied();
    let processes = Processes {
        server: process("server-pid"),
        database: process("database-pid"),
    };
    processes.check()?;
    allow_open_files(scenario.connections() as u64 + OTHER_FILES)?;

    let generator = Generator::new(target, tokens, scenario.rooms())?;
    let report = scenarios::run(scenario, &mut Meter::new(generator, processes))?;
    if arguments.get_flag("json") {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(match report.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Every connection is an open file, and a process may have few by default.
fn allow_open_files(needed: u64) -> Result<(), BoxError> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed))),
        ..limit
    };
    let is_enough = raised.current == Some(needed);
    if is_enough && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let current = limit.maximum.unwrap_or_default();
    Err(format!(
        "so many connections need {needed} open files, and this process may have {current}: \
         run ulimit -n {needed} before, as root"
    )
    .into())
}
