//! What the command line asks for: a scenario, with numbers that make sense together.

mod flags;

use std::time::Duration;

use chat_domain::BoxError;
use clap::ArgMatches;
use serde::Serialize;

pub(super) use self::flags::flags;
use self::flags::{FLAGS, Kind, NAMES};

/// What is run, as the result repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Scenario {
    S1(ClosedLoop),
    S2(OneRoom),
    S3(Idle),
    S4(Rooms),
    S5(History),
}

/// Senders with rooms of their own, and a fixed number of messages in flight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct ClosedLoop {
    pub(super) connections: usize,
    pub(super) in_flight: usize,
    pub(super) rooms_each: usize,
    pub(super) idle_connections: usize,
    pub(super) steady_rate: f64,
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

/// Pages of a room's history, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct History {
    pub(super) room: usize,
    pub(super) calls: usize,
}

/// The most rooms of all connections together.
const MAX_ROOMS: usize = 1_000_000;

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
            scenario: scenario.ok_or("--scenario is s1, s2, s3, s4 or s5")?,
        };
        reader.check_all_mean_something()?;
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
            3 => Self::S4(Rooms {
                connections: count("connections")?,
                rooms: reader.part_of_connections("rooms")?,
                rate: number("rate")?,
                p99_bound: number("p99-bound")?,
                warm_up: number("warm-up")?,
                seconds: number("seconds")?,
                step_seconds: number("step-seconds")?,
                parallel: count("parallel")?,
            }),
            _ => Self::S5(History {
                room: count("room")?,
                calls: count("calls")?,
            }),
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::S1(_) => NAMES[0],
            Self::S2(_) => NAMES[1],
            Self::S3(_) => NAMES[2],
            Self::S4(_) => NAMES[3],
            Self::S5(_) => NAMES[4],
        }
    }

    pub(super) fn connections(&self) -> usize {
        match self {
            Self::S1(plan) => plan.connections + plan.idle_connections,
            Self::S2(OneRoom { connections, .. })
            | Self::S3(Idle { connections, .. })
            | Self::S4(Rooms { connections, .. }) => *connections,
            Self::S5(_) => 1,
        }
    }

    /// The highest room that is joined.
    pub(super) fn rooms(&self) -> usize {
        match self {
            Self::S1(plan) => plan.connections * plan.rooms_each,
            Self::S2(_) => 1,
            Self::S3(_) => 0,
            Self::S4(Rooms { rooms, .. }) => *rooms,
            Self::S5(History { room, .. }) => *room,
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
            Kind::CountOrNone(max) => (
                number.fract() == 0.0 && (0.0..=max as f64).contains(&number),
                format!("a whole number from 0 to {max}"),
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

    fn rooms_each(&self) -> Result<usize, BoxError> {
        let each = self.number("rooms-each")? as usize;
        let all = each * self.number("connections")? as usize;
        if all > MAX_ROOMS {
            return Err(format!("--rooms-each {each} makes more than {MAX_ROOMS} rooms").into());
        }
        Ok(each)
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
            ("--scenario s6", "s6"),
            ("--scenario s1 --rooms 5", "--rooms means nothing in s1"),
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
                "--connections means nothing in s5",
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
