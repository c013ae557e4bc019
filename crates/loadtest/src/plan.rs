//! The scenarios and their parameters, and how the command line selects them.

mod flags;

use std::time::Duration;

use chat_domain::BoxError;
use clap::ArgMatches;
use serde::Serialize;

pub use self::flags::flags;
use self::flags::{FLAGS, Kind, NAMES};

/// A scenario with its parameters. The report repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scenario {
    /// A closed loop in many rooms.
    S1(ClosedLoop),
    /// The limits of one room.
    S2(OneRoom),
    /// The cost of connections.
    S3(Idle),
    /// The limits of many small rooms.
    S4(Rooms),
    /// The latency of history pages.
    S5(History),
    /// What members notice of a fault.
    S6(Outage),
}

/// Senders with their own rooms, and a fixed number of messages in flight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClosedLoop {
    /// Connections that send, each as a user of its own.
    pub connections: usize,
    /// Messages that each sender has in flight.
    pub in_flight: usize,
    /// Rooms that each sender joins and sends to in turn.
    pub rooms_each: usize,
    /// Additional connections that join no room.
    pub idle_connections: usize,
    /// Messages per second of a second measurement at a fixed rate; 0 omits it.
    pub steady_rate: f64,
    /// Seconds before the measurement.
    pub warm_up: f64,
    /// Seconds that are measured.
    pub seconds: f64,
    /// Connections that are established at the same time.
    pub parallel: usize,
}

/// One room: how many deliveries per second the server can make.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OneRoom {
    /// Members of the room.
    pub connections: usize,
    /// Members that send.
    pub senders: usize,
    /// Messages that each sender has in flight in the closed loop.
    pub in_flight: usize,
    /// Seconds before the closed loop is measured.
    pub warm_up: f64,
    /// Seconds of the closed loop and of the half load.
    pub seconds: f64,
    /// Seconds of each step of the ramp.
    pub step_seconds: f64,
    /// Connections that are established at the same time.
    pub parallel: usize,
}

/// Connections that do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Idle {
    /// Connections to establish.
    pub connections: usize,
    /// Seconds that they stay idle.
    pub idle_seconds: f64,
    /// Connections that are established at the same time.
    pub parallel: usize,
}

/// Small rooms, and messages at random times: the highest rate with bounded latency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rooms {
    /// Connections, spread evenly over the rooms; all of them send.
    pub connections: usize,
    /// Rooms.
    pub rooms: usize,
    /// Messages per second of the first measurement.
    pub rate: f64,
    /// The 99th percentile of latency that ends the search, in milliseconds.
    pub p99_bound: f64,
    /// Seconds before the first measurement.
    pub warm_up: f64,
    /// Seconds of the first measurement.
    pub seconds: f64,
    /// Seconds of each step of the search.
    pub step_seconds: f64,
    /// Connections that are established at the same time.
    pub parallel: usize,
}

/// Pages of a room's history, one request at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct History {
    /// The room to read.
    pub room: usize,
    /// Pages to read at each place, in each direction.
    pub calls: usize,
}

/// Small rooms before, during and after a fault, which something else injects.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outage {
    /// Connections, spread evenly over the rooms.
    pub connections: usize,
    /// Rooms.
    pub rooms: usize,
    /// 1 if the members of each room that send are on one node, 0 if all members send.
    pub writing_nodes: usize,
    /// Messages per second of the open loops.
    pub rate: f64,
    /// Messages that each connection has in flight in the closed loops.
    pub in_flight: usize,
    /// Seconds before the first measurement, and before each closed loop is measured.
    pub warm_up: f64,
    /// Seconds of each measurement.
    pub seconds: f64,
    /// Connections that are established at the same time.
    pub parallel: usize,
}

/// The most rooms that all connections may join together.
const MAX_ROOMS: usize = 1_000_000;

/// Interprets the flags for one scenario.
struct Reader<'a> {
    arguments: &'a ArgMatches,
    scenario: usize,
}

impl Scenario {
    /// Interprets the arguments of [`flags()`].
    ///
    /// # Errors
    /// Names the first flag that is wrong.
    pub fn from_arguments(arguments: &ArgMatches) -> Result<Self, BoxError> {
        let name = arguments.get_one::<String>("scenario");
        let scenario = NAMES
            .iter()
            .position(|known| Some(*known) == name.map(String::as_str));
        let reader = Reader {
            arguments,
            scenario: scenario.ok_or("--scenario must be s1, s2, s3, s4, s5 or s6")?,
        };
        reader.check_all_apply()?;
        let number = |name| reader.number(name);
        let count = |name| reader.number(name).map(|number| number as usize);
        Ok(match reader.scenario {
            0 => Self::S1(ClosedLoop {
                connections: count("connections")?,
                in_flight: count("in-flight")?,
                rooms_each: reader.rooms_each()?,
                idle_connections: count("idle-connections")?,
                steady_rate: number("steady-rate")?,
                warm_up: number("warm-up")?,
                seconds: number("seconds")?,
                parallel: count("parallel")?,
            }),
            1 => Self::S2(OneRoom {
                connections: count("connections")?,
                senders: reader.at_most_connections("senders")?,
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
            3 => Self::S4(Rooms {
                connections: count("connections")?,
                rooms: reader.at_most_connections("rooms")?,
                rate: number("rate")?,
                p99_bound: number("p99-bound")?,
                warm_up: number("warm-up")?,
                seconds: number("seconds")?,
                step_seconds: number("step-seconds")?,
                parallel: count("parallel")?,
            }),
            4 => Self::S5(History {
                room: count("room")?,
                calls: count("calls")?,
            }),
            _ => Self::S6(Outage {
                connections: count("connections")?,
                rooms: reader.at_most_connections("rooms")?,
                writing_nodes: count("writing-nodes")?,
                rate: number("rate")?,
                in_flight: count("in-flight")?,
                warm_up: number("warm-up")?,
                seconds: number("seconds")?,
                parallel: count("parallel")?,
            }),
        })
    }

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::S1(_) => NAMES[0],
            Self::S2(_) => NAMES[1],
            Self::S3(_) => NAMES[2],
            Self::S4(_) => NAMES[3],
            Self::S5(_) => NAMES[4],
            Self::S6(_) => NAMES[5],
        }
    }

    /// Returns the number of connections that the scenario establishes.
    #[must_use]
    pub fn connections(&self) -> usize {
        match self {
            Self::S1(plan) => plan.connections + plan.idle_connections,
            Self::S2(OneRoom { connections, .. })
            | Self::S3(Idle { connections, .. })
            | Self::S4(Rooms { connections, .. })
            | Self::S6(Outage { connections, .. }) => *connections,
            Self::S5(_) => 1,
        }
    }

    /// Returns the highest number of the rooms that are joined.
    pub(crate) fn rooms(&self) -> usize {
        match self {
            Self::S1(plan) => plan.connections * plan.rooms_each,
            Self::S2(_) => 1,
            Self::S3(_) => 0,
            Self::S4(Rooms { rooms, .. }) | Self::S6(Outage { rooms, .. }) => *rooms,
            Self::S5(History { room, .. }) => *room,
        }
    }
}

impl Reader<'_> {
    /// Refuses a flag that the scenario would ignore.
    fn check_all_apply(&self) -> Result<(), BoxError> {
        for flag in &FLAGS {
            if flag.defaults[self.scenario].is_none() && self.arguments.contains_id(flag.name) {
                let scenario = NAMES[self.scenario];
                return Err(format!("--{} does not apply to {scenario}", flag.name).into());
            }
        }
        Ok(())
    }

    fn number(&self, name: &str) -> Result<f64, BoxError> {
        let flag = FLAGS.iter().find(|flag| flag.name == name);
        let flag = flag.ok_or_else(|| format!("unknown flag --{name}"))?;
        let Some(text) = self.arguments.get_one::<String>(name) else {
            return flag.defaults[self.scenario]
                .ok_or_else(|| format!("--{name} does not apply here").into());
        };
        let number: f64 = text.parse().unwrap_or(f64::NAN);
        let (is_valid, expected) = match flag.kind {
            Kind::Count(max) => (
                number.fract() == 0.0 && (1.0..=max as f64).contains(&number),
                format!("a whole number from 1 to {max}"),
            ),
            Kind::CountOrNone(max) => (
                number.fract() == 0.0 && (0.0..=max as f64).contains(&number),
                format!("a whole number from 0 to {max}"),
            ),
            Kind::Seconds => (
                (0.0..=86_400.0).contains(&number),
                "a number of seconds, at most a day".to_owned(),
            ),
            Kind::Positive => (
                number > 0.0 && number <= 1e9,
                "a number greater than 0".to_owned(),
            ),
        };
        match is_valid {
            true => Ok(number),
            false => Err(format!("--{name} must be {expected}, not \"{text}\"").into()),
        }
    }

    fn rooms_each(&self) -> Result<usize, BoxError> {
        let each = self.number("rooms-each")? as usize;
        let all = each * self.number("connections")? as usize;
        if all > MAX_ROOMS {
            return Err(
                format!("--rooms-each {each} would join more than {MAX_ROOMS} rooms").into(),
            );
        }
        Ok(each)
    }

    fn at_most_connections(&self, name: &str) -> Result<usize, BoxError> {
        let part = self.number(name)?;
        let connections = self.number("connections")?;
        if part > connections {
            return Err(format!("--{name} {part} is more than --connections {connections}").into());
        }
        Ok(part as usize)
    }
}

pub(crate) fn seconds(number: f64) -> Duration {
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
        Scenario::from_arguments(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn each_scenario_has_its_own_defaults() {
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
    fn an_invalid_flag_is_refused_by_name() {
        for (line, says) in [
            ("--scenario s7", "s7"),
            ("--scenario s1 --rooms 5", "--rooms does not apply to s1"),
            ("--scenario s1 --connections 0", "--connections must be"),
            ("--scenario s1 --connections 1.5", "--connections must be"),
            ("--scenario s1 --seconds=-1", "--seconds must be"),
            ("--scenario s1 --seconds nan", "--seconds must be"),
            (
                "--scenario s1 --rooms-each 20000",
                "more than 1000000 rooms",
            ),
            (
                "--scenario s1 --idle-connections=-1",
                "--idle-connections must be",
            ),
            (
                "--scenario s5 --connections 2",
                "--connections does not apply to s5",
            ),
            ("--scenario s4 --rate 0", "--rate must be"),
            ("--scenario s2 --connections 3", "--senders 4 is more than"),
            ("--scenario s4 --connections 9", "--rooms 100 is more than"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
