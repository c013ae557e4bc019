//! `cargo xtask chaos`: the gateway's fault-injection tests, repeated many times.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::bench::Peer;
use crate::error::Error;
use crate::help::HELP;
use crate::machine::{is_root, step};
use crate::needs::{install_missing, postgres, python, redis};
use crate::test::{cargo_with, run_to_completion};

mod planted;

/// The default number of rounds of each fault.
const ROUNDS: u32 = 20;
/// The default number of messages that are acknowledged while each fault strikes.
const MESSAGES: u32 = 100_000;
/// The largest number of gateways in a test.
const MOST_NODES: u32 = 3;
/// What the names of the tests with several gateways contain.
const SEVERAL_NODES: &str = "several_nodes::";
/// What the names of the tests with planted bugs contain.
const PLANTED: &str = "planted::";
/// What the names of the tests with another server contain.
const PEER: &str = "peer::";

/// Runs the rounds and returns cargo's exit code.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode, Error> {
    let Some(options) = Options::parse(arguments) else {
        eprint!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    // Python reads the SQLite files; its packages are not needed.
    install_missing(&[postgres::NEED, redis::NEED, python::NEED])?;
    let postgres = postgres::prepare()?;
    let redis = redis::prepare()?;

    let mut cargo = cargo_with(&postgres, &redis)?;
    if options.controls {
        step("building the gateway with planted bugs");
        let planted = planted::build(cargo_with(&postgres, &redis)?)?;
        cargo.env("PLANTED_GATEWAY", planted);
    }
    if let Some(peer) = &options.peer {
        let peer = Peer::find(peer, options.peer_schema.as_deref())?;
        let command = std::iter::once(peer.program.display().to_string()).chain(peer.arguments);
        cargo
            .env("CHAOS_PEER", peer.folder)
            .env("CHAOS_PEER_COMMAND", command.collect::<Vec<_>>().join("\n"))
            .env("CHAOS_PEER_SCHEMA", peer.schema);
    }
    if let Some(seed) = options.seed {
        cargo.env("CHAOS_SEED", seed.to_string());
    }
    let Options {
        nodes,
        rounds,
        messages,
        ..
    } = options;
    cargo
        .env("CHAOS_NODES", nodes.to_string())
        .env("CHAOS_ROUNDS", rounds.to_string())
        .env("CHAOS_MESSAGES", messages.to_string())
        .env("CHAOS_RULES", "1")
        .args(["test", "-p", "chat-gateway", "--all-features"])
        .args(["--test", "chaos", "--", "--nocapture"])
        // Each fault has the machine to itself, and its output is not interleaved.
        .args(["--test-threads", "1"]);
    match nodes {
        _ if options.controls => cargo.args([PLANTED, "--ignored"]),
        1 => cargo.args(["--skip", SEVERAL_NODES, "--skip", PLANTED, "--skip", PEER]),
        _ => cargo.arg(SEVERAL_NODES),
    };
    if options.controls {
        match options.peer {
            Some(_) => drop(cargo.arg(PEER)),
            None => step("NOT RUN: the control with another server: name it with --peer"),
        }
        step("chaos, the controls: what is wrong must be found");
        return run_to_completion(cargo);
    }
    if is_root() {
        cargo.arg("--include-ignored");
    } else {
        step("NOT RUN: a full disk and a crashed machine, which mount a file system: run as root");
    }
    step(&format!(
        "chaos, {rounds} rounds and {messages} messages of each fault, nodes: {nodes}"
    ));
    run_to_completion(cargo)
}

/// What the command's flags select.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    nodes: u32,
    rounds: u32,
    messages: u32,
    seed: Option<u64>,
    /// Whether gateways with planted bugs are tested, and nothing else.
    controls: bool,
    /// With the controls: the folder of another server, built, and its tables.
    peer: Option<PathBuf>,
    peer_schema: Option<PathBuf>,
}

impl Options {
    /// Returns `None` for arguments that are not valid.
    fn parse(arguments: &[OsString]) -> Option<Self> {
        let mut options = Self {
            nodes: 1,
            rounds: ROUNDS,
            messages: MESSAGES,
            seed: None,
            controls: false,
            peer: None,
            peer_schema: None,
        };
        let mut arguments = arguments;
        if let [first, rest @ ..] = arguments
            && first == "--controls"
        {
            (options.controls, arguments) = (true, rest);
        }
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return None };
            let path = || Some(PathBuf::from(value)).filter(|_| options.controls);
            let value = value.to_str()?;
            match name.to_str()? {
                "--peer" => options.peer = Some(path()?),
                "--peer-schema" => options.peer_schema = Some(path()?),
                "--nodes" => options.nodes = value.parse().ok()?,
                "--rounds" => options.rounds = value.parse().ok()?,
                "--messages" => options.messages = value.parse().ok()?,
                "--seed" => options.seed = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        // No rounds prove nothing.
        let is_valid = options.rounds > 0 && (1..=MOST_NODES).contains(&options.nodes);
        is_valid.then_some(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Option<Options> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn flags_select_the_nodes_the_rounds_the_messages_and_the_seed() {
        let options = |nodes, rounds, messages, seed| {
            Some(Options {
                nodes,
                rounds,
                messages,
                seed,
                controls: false,
                peer: None,
                peer_schema: None,
            })
        };
        assert_eq!(parsed(&[]), options(1, ROUNDS, MESSAGES, None));
        assert_eq!(
            parsed(&["--seed", "7", "--rounds", "3", "--messages", "0"]),
            options(1, 3, 0, Some(7))
        );
        assert_eq!(
            parsed(&["--nodes", "3"]),
            options(3, ROUNDS, MESSAGES, None)
        );
        let controls = parsed(&["--controls", "--seed", "7"]);
        assert!(controls.is_some_and(|options| options.controls && options.seed == Some(7)));
        let peer = parsed(&["--controls", "--peer", "x", "--peer-schema", "y.sql"]).unwrap();
        assert_eq!(peer.peer, Some("x".into()));
        assert_eq!(peer.peer_schema, Some("y.sql".into()));
        for wrong in [
            ["--rounds", "0"].as_slice(),
            &["--peer", "x"],
            &["--nodes", "0"],
            &["--nodes", "4"],
            &["--rounds"],
            &["--seed", "x"],
            &["--speed", "1"],
        ] {
            assert_eq!(parsed(wrong), None, "{wrong:?}");
        }
    }
}
