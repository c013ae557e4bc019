//! `chat-gateway loadtest`: drives a server that implements the wire contract and prints
//! the report. The crate `chat_loadtest` does the work.

use std::process::ExitCode;

use chat_domain::BoxError;
use chat_loadtest::{LoadTest, Processes, Scenario, Target, Tokens};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::{Settings, read_jwt};
use crate::wiring;

pub(super) fn command() -> Command {
    let argument = |name: &'static str, help| Arg::new(name).long(name).help(help);
    let process = |name, help| {
        argument(name, help)
            .value_name("PID")
            .value_parser(value_parser!(u32))
    };
    Command::new("loadtest")
        .about("Measure a server under load and check that every message arrives")
        .after_help(
            "s1: senders with their own rooms and messages in flight. s2: one room, at increasing \
             rates until they are too high. s3: idle connections. s4: small rooms, messages at \
             random times, until the p99 is too high. s5: pages of a room that has messages. s6: \
             small rooms before, during and after a fault, which you inject when the load test \
             says so.\n\n\
             JWT_SECRET signs the tokens of the users 1, 2, 3 … Turn off the server's limits \
             (MESSAGE_RATE=0); otherwise the test measures them.\n\n\
             In a closed loop (s1, the first phase of s2, half of s6) the arrival of a message \
             causes the next one, so a stall of the server reduces the load and hides in the \
             percentiles. In an open loop (the rest of s2, s4, half of s6) messages are due on a \
             schedule, and latency counts from then.\n\n\
             The exit code is 0 only if messages were measured; none was refused, unanswered, \
             missing, repeated, out of order or in the wrong room; no connection was lost; and \
             the load test itself used at most 90 % of its core.",
        )
        // Separates these flags from the settings, which every command has.
        .next_help_heading("Load")
        .arg(
            argument(
                "url",
                "URL of the server; repeated: of each of its nodes, over which the connections \
                 are spread",
            )
            .value_name("URL")
            .action(ArgAction::Append)
            .default_value("http://127.0.0.1:3001"),
        )
        .args(chat_loadtest::flags())
        .arg(
            argument(
                "tokens-file",
                "a file with one token per line, instead of JWT_SECRET",
            )
            .value_name("PATH"),
        )
        .arg(
            process(
                "server-pid",
                "measure the CPU time and memory of this process; repeated: of all of them",
            )
            .action(ArgAction::Append),
        )
        .arg(process(
            "database-pid",
            "measure the CPU time of this process and its children",
        ))
        .arg(process("redis-pid", "measure the CPU time of this process"))
        .arg(argument("json", "print the result as JSON").action(ArgAction::SetTrue))
}

pub(super) fn run(settings: &Settings, arguments: &ArgMatches) -> Result<ExitCode, BoxError> {
    let text = |name| arguments.get_one::<String>(name).map(String::as_str);
    let scenario = Scenario::from_arguments(arguments)?;
    let urls = arguments.get_many::<String>("url").unwrap_or_default();
    let urls: Vec<_> = urls.map(String::as_str).collect();
    let target = Target::parse(&urls)?;
    let tokens = match text("tokens-file") {
        None => minted_tokens(settings)?,
        Some(path) => listed_tokens(path, scenario.connections())
            .map_err(|error| format!("--tokens-file {path}: {error}"))?,
    };
    let servers = arguments.get_many::<u32>("server-pid").unwrap_or_default();
    let processes = Processes {
        server: servers.copied().collect(),
        database: arguments.get_one::<u32>("database-pid").copied(),
        redis: arguments.get_one::<u32>("redis-pid").copied(),
    };
    let test = LoadTest {
        target,
        tokens,
        scenario,
        processes,
    };
    let report = test.run()?;
    if arguments.get_flag("json") {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    report.verdict()?;
    Ok(ExitCode::SUCCESS)
}

fn minted_tokens(settings: &Settings) -> Result<Tokens, BoxError> {
    let options = read_jwt(settings).map_err(|error| {
        format!("{error}; or pass the tokens of another server's users with --tokens-file")
    })?;
    Ok(Tokens::minted(
        wiring::signing_secret(&options)?.clone(),
        options.issuer,
        options.audience,
    ))
}

fn listed_tokens(path: &str, connections: usize) -> Result<Tokens, BoxError> {
    let text = std::fs::read_to_string(path)?;
    Ok(Tokens::listed(&text, connections)?)
}
