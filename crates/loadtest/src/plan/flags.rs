//! The flags of the scenarios: to which scenarios each applies, with which default.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction};

/// The names of the scenarios.
pub(super) const NAMES: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];

/// The values that a flag accepts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A whole number from 1 to this.
    Count(usize),
    /// A whole number from 0 to this.
    CountOrNone(usize),
    Seconds,
    /// A number greater than zero.
    Positive,
}

/// A number on the command line.
pub(super) struct Flag {
    pub(super) name: &'static str,
    help: &'static str,
    pub(super) kind: Kind,
    /// The default of each scenario; `None` where the flag does not apply.
    pub(super) defaults: [Option<f64>; 6],
}

pub(super) const FLAGS: [Flag; 17] = [
    Flag {
        name: "connections",
        help: "connections, each of a different user; s1: each in its own rooms; s2: all in one \
               room",
        kind: Kind::Count(1_000_000),
        defaults: [
            Some(64.0),
            Some(1000.0),
            Some(10_000.0),
            Some(1000.0),
            None,
            Some(100.0),
        ],
    },
    Flag {
        name: "in-flight",
        help: "messages that each sender has in flight",
        kind: Kind::Count(10_000),
        defaults: [Some(1.0), Some(2.0), None, None, None, Some(1.0)],
    },
    Flag {
        name: "senders",
        help: "how many of the connections send",
        kind: Kind::Count(1_000_000),
        defaults: [None, Some(4.0), None, None, None, None],
    },
    Flag {
        name: "rooms",
        help: "rooms, over which the connections are spread evenly",
        kind: Kind::Count(1_000_000),
        defaults: [None, None, None, Some(100.0), None, Some(10.0)],
    },
    Flag {
        name: "writing-nodes",
        help: "1: the members of each room that send are on one node; 0: all members send",
        kind: Kind::CountOrNone(1),
        defaults: [None, None, None, None, None, Some(0.0)],
    },
    Flag {
        name: "rooms-each",
        help: "rooms that each connection joins and sends to in turn",
        kind: Kind::Count(1_000_000),
        defaults: [Some(1.0), None, None, None, None, None],
    },
    Flag {
        name: "idle-connections",
        help: "additional connections that do nothing",
        kind: Kind::CountOrNone(1_000_000),
        defaults: [Some(0.0), None, None, None, None, None],
    },
    Flag {
        name: "steady-rate",
        help: "messages per second of a second measurement at a fixed rate; 0 omits it",
        kind: Kind::CountOrNone(1_000_000),
        defaults: [Some(0.0), None, None, None, None, None],
    },
    Flag {
        name: "room",
        help: "the room whose history is read",
        kind: Kind::Count(1_000_000),
        defaults: [None, None, None, None, Some(1.0), None],
    },
    Flag {
        name: "calls",
        help: "pages to read at each place, in each direction",
        kind: Kind::Count(1_000_000),
        defaults: [None, None, None, None, Some(300.0), None],
    },
    Flag {
        name: "rate",
        help: "messages per second at the start",
        kind: Kind::Positive,
        defaults: [None, None, None, Some(1000.0), None, Some(500.0)],
    },
    Flag {
        name: "p99-bound",
        help: "the 99th percentile of latency that ends the search, in milliseconds",
        kind: Kind::Positive,
        defaults: [None, None, None, Some(250.0), None, None],
    },
    Flag {
        name: "warm-up",
        help: "seconds before the first measurement",
        kind: Kind::Seconds,
        defaults: [Some(3.0), Some(3.0), None, Some(3.0), None, Some(2.0)],
    },
    Flag {
        name: "seconds",
        help: "seconds of each measurement",
        kind: Kind::Seconds,
        defaults: [Some(8.0), Some(5.0), None, Some(5.0), None, Some(10.0)],
    },
    Flag {
        name: "step-seconds",
        help: "seconds of each step of a search; 0 omits it",
        kind: Kind::Seconds,
        defaults: [None, Some(2.0), None, Some(3.0), None, None],
    },
    Flag {
        name: "idle-seconds",
        help: "seconds that the connections stay idle",
        kind: Kind::Seconds,
        defaults: [None, None, Some(10.0), None, None, None],
    },
    Flag {
        name: "parallel",
        help: "connections to establish at the same time",
        kind: Kind::Count(100_000),
        defaults: [
            Some(64.0),
            Some(64.0),
            Some(256.0),
            Some(64.0),
            None,
            Some(64.0),
        ],
    },
];

/// Returns the flags of the scenarios; the help of each states its defaults.
pub fn flags() -> impl Iterator<Item = Arg> {
    let scenario = Arg::new("scenario")
        .long("scenario")
        .help("the scenario to run")
        .value_name("NAME")
        .required(true)
        .action(ArgAction::Set)
        .value_parser(PossibleValuesParser::new(NAMES));
    let numbers = FLAGS.iter().map(|flag| {
        let defaults = NAMES.iter().zip(flag.defaults);
        let defaults: Vec<String> = defaults
            .filter_map(|(name, default)| Some(format!("{name}: {}", default?)))
            .collect();
        Arg::new(flag.name)
            .long(flag.name)
            .help(format!("{} [{}]", flag.help, defaults.join(", ")))
            .value_name("NUMBER")
    });
    std::iter::once(scenario).chain(numbers)
}
