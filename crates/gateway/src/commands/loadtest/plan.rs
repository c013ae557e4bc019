//! What the command line asks for: a scenario, with numbers that make sense together.

use std::time::Duration;

use chat_domain::BoxError;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches};
use serde::Serialize;

/// What is run, as the result repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Scenario {
    S1(ClosedLoop),
    S2(OneRoom),
    S3(Idle),
    S4(Rooms),
}

/// Senders with a room each, and a fixed number of messages in flight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct ClosedLoop {
    pub(super) connections: usize,
    pub(super) in_flight: usize,
    pub(super) warm_up: f64,
    pub(super) seconds: f64,
    pub(super) parallel: usize,
}

/// One room: how many deliveries a second it can take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct OneRoom {
    pub(super) connections: usize,
    pub(super) senders: usize,
    pub(super) in_flight: usize,
    pub(super) warm_up: f64,
    pub(super) seconds: f64,
    pub(super) step_seconds: f64,
    pub(super) parallel: usize,
}

/// Connections that do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Idle {
    pub(super) connections: usize,
    pub(super) idle_seconds: f64,
    pub(super) parallel: usize,
}

/// Small rooms, and messages at random times: the rate at which latency gets too high.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Rooms {
    pub(super) connections: usize,
    pub(super) rooms: usize,
    pub(super) rate: f64,
    pub(super) p99_bound: f64,
    pub(super) warm_up: f64,
    pub(super) seconds: f64,
    pub(super) step_seconds: f64,
    pub(super) parallel: usize,
}

const NAMES: [&str; 4] = ["s1", "s2", "s3", "s4"];

/// What a number may be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// From 1 to this.
    Count(usize),
    Seconds,
    /// A number above zero.
    Positive,
}

struct Flag {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    /// For each scenario; `None` where the flag means nothing.
    defaults: [Option<f64>; 4],
}

const FLAGS: [Flag; 11] = [
    Flag {
        name: "connections",
        help: "connections, each of a user of its own; s1: each in a room of its own; s2: all \
               in one room",
        kind: Kind::Count(1_000_000),
        defaults: [Some(64.0), Some(1000.0), Some(10_000.0), Some(1000.0)],
    },
    Flag {
        name: "in-flight",
        help: "messages that each sender has under way",
        kind: Kind::Count(10_000),
        defaults: [Some(1.0), Some(2.0), None, None],
    },
    Flag {
        name: "senders",
        help: "how many of the connections send",
        kind: Kind::Count(1_000_000),
        defaults: [None, Some(4.0), None, None],
    },
    Flag {
        name: "rooms",
        help: "rooms, over which the connections are spread",
        kind: Kind::Count(1_000_000),
        defaults: [None, None, None, Some(100.0)],
    },
    Flag {
        name: "rate",
        help: "messages a second to begin with",
        kind: Kind::Positive,
        defaults: [None, None, None, Some(1000.0)],
    },
    Flag {
        name: "p99-bound",
        help: "the 99th percentile of latency that ends the search, in milliseconds",
        kind: Kind::Positive,
        defaults: [None, None, None, Some(250.0)],
    },
    Flag {
        name: "warm-up",
        help: "seconds before the first measurement",
        kind: Kind::Seconds,
        defaults: [Some(3.0), Some(3.0), None, Some(3.0)],
    },
    Flag {
        name: "seconds",
        help: "seconds of a measurement",
        kind: Kind::Seconds,
        defaults: [Some(8.0), Some(5.0), None, Some(5.0)],
    },
    Flag {
        name: "step-seconds",
        help: "seconds of each step of a search",
        kind: Kind::Seconds,
        defaults: [None, Some(2.0), None, Some(3.0)],
    },
    Flag {
        name: "idle-seconds",
        help: "seconds in which nothing is done",
        kind: Kind::Seconds,
        defaults: [None, None, Some(10.0), None],
    },
    Flag {
        name: "parallel",
        help: "connections that are made at once",
        kind: Kind::Count(100_000),
        defaults: [Some(64.0), Some(64.0), Some(256.0), Some(64.0)],
    },
];

/// The flags of the scenarios, each with its defaults in the help.
pub(super) fn flags() -> impl Iterator<Item = Arg> {
    let scenario = Arg::new("scenario")
        .long("scenario")
        .help("what to run")
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

/// What the flags mean.
struct Reader<'a> {
    arguments: &'a ArgMatches,
    scenario: usize,
}

impl Scenario {
    /// # Errors
    /// The first flag that is wrong, by name.
    pub(super) fn read(arguments: &ArgMatches) -> Result<Self, BoxError> {
        let name = arguments.get_one::<String>("scenario");
        let scenario = NAMES
            .iter()
            .position(|known| Some(*known) == name.map(String::as_str));
        let reader = Reader {
            arguments,
            scenario: scenario.ok_or("--scenario is s1, s2, s3 or s4")?,
        };
        reader.check_all_mean_something()?;
        let number = |name| reader.number(name);
        let count = |name| reader.number(name).map(|number| number as usize);
        Ok(match reader.scenario {
            0 => Self::S1(ClosedLoop {
                connections: count("connections")?,
                in_flight: count("in-flight")?,
                warm_up: number("warm-up")?,
                seconds: number("seconds")?,
                parallel: count("parallel")?,
            }),
            1 => Self::S2(OneRoom {
                connections: count("connections")?,
                senders: reader.part_of_connections("senders")?,
                in_flight: count("in-flight")?,
                warm_up: number("warm-up")?,
                seconds: number("seconds")?,
                step_seconds: number("step-seconds")?,
                parallel: count("parallel")?,
            }),
            2 => Self::S3(Idle {
                connections: count("connections")?,
                idle_seconds: number("idle-seconds")?,
                parallel: count("parallel")?,
            }),
            _ => Self::S4(Rooms {
                connections: count("connections")?,
                rooms: reader.part_of_connections("rooms")?,
                rate: number("rate")?,
                p99_bound: number("p99-bound")?,
                warm_up: number("warm-up")?,
                seconds: number("seconds")?,
                step_seconds: number("step-seconds")?,
                parallel: count("parallel")?,
            }),
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::S1(_) => NAMES[0],
            Self::S2(_) => NAMES[1],
            Self::S3(_) => NAMES[2],
            Self::S4(_) => NAMES[3],
        }
    }

    pub(super) fn connections(&self) -> usize {
        match self {
            Self::S1(ClosedLoop { connections, .. })
            | Self::S2(OneRoom { connections, .. })
            | Self::S3(Idle { connections, .. })
            | Self::S4(Rooms { connections, .. }) => *connections,
        }
    }

    /// The highest room that is joined.
    pub(super) fn rooms(&self) -> usize {
        match self {
            Self::S1(ClosedLoop { connections, .. }) => *connections,
            Self::S2(_) => 1,
            Self::S3(_) => 0,
            Self::S4(Rooms { rooms, .. }) => *rooms,
        }
    }
}

impl Reader<'_> {
    /// A flag that changes nothing must not look as if it did.
    fn check_all_mean_something(&self) -> Result<(), BoxError> {
        for flag in &FLAGS {
            if flag.defaults[self.scenario].is_none() && self.arguments.contains_id(flag.name) {
                let scenario = NAMES[self.scenario];
                return Err(format!("--{} means nothing in {scenario}", flag.name).into());
            }
        }
        Ok(())
    }

    fn number(&self, name: &str) -> Result<f64, BoxError> {
        let flag = FLAGS.iter().find(|flag| flag.name == name);
        let flag = flag.ok_or_else(|| format!("there is no flag --{name}"))?;
        let Some(text) = self.arguments.get_one::<String>(name) else {
            return flag.defaults[self.scenario]
                .ok_or_else(|| format!("--{name} means nothing here").into());
        };
        let number: f64 = text.parse().unwrap_or(f64::NAN);
        let (is_fine, expected) = match flag.kind {
            Kind::Count(max) => (
                number.fract() == 0.0 && (1.0..=max as f64).contains(&number),
                format!("a whole number from 1 to {max}"),
            ),
            Kind::Seconds => (
                (0.0..=86_400.0).contains(&number),
                "a number of seconds, a day at most".to_owned(),
            ),
            Kind::Positive => (number > 0.0 && number <= 1e9, "a number above 0".to_owned()),
        };
        match is_fine {
            true => Ok(number),
            false => Err(format!("--{name} must be {expected}, not \"{text}\"").into()),
        }
    }

    fn part_of_connections(&self, name: &str) -> Result<usize, BoxError> {
        let part = self.number(name)?;
        let connections = self.number("connections")?;
        if part > connections {
            return Err(format!("--{name} {part} is more than --connections {connections}").into());
        }
        Ok(part as usize)
    }
}

pub(super) fn seconds(number: f64) -> Duration {
    Duration::from_secs_f64(number)
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    fn read(line: &str) -> Result<Scenario, String> {
        let arguments = Command::new("loadtest")
            .args(flags())
            .try_get_matches_from(format!("loadtest {line}").split(' '))
            .map_err(|error| error.to_string())?;
        Scenario::read(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn a_scenario_has_its_own_defaults() {
        let Ok(Scenario::S2(room)) = read("--scenario s2 --connections 200") else {
            panic!("s2 is a scenario");
        };
        let numbers = (room.connections, room.senders, room.in_flight);
        assert_eq!(numbers, (200, 4, 2));
        assert_eq!((room.seconds, room.step_seconds), (5.0, 2.0));
        for name in NAMES {
            assert_eq!(read(&format!("--scenario {name}")).unwrap().name(), name);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, says) in [
            ("--scenario s5", "s5"),
            ("--scenario s1 --rooms 5", "--rooms means nothing in s1"),
            ("--scenario s1 --connections 0", "--connections must be"),
            ("--scenario s1 --connections 1.5", "--connections must be"),
            ("--scenario s1 --seconds=-1", "--seconds must be"),
            ("--scenario s1 --seconds nan", "--seconds must be"),
            ("--scenario s4 --rate 0", "--rate must be"),
            ("--scenario s2 --connections 3", "--senders 4 is more than"),
            ("--scenario s4 --connections 9", "--rooms 100 is more than"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
