//! `cargo xtask bench --growth`: how the costs of a message, a delivery and a page change
//! as the number of rooms, members, rows and connections grows.

use std::process::Command;
use std::str::FromStr;

use serde_json::Value;

use super::figure::{Figure, cell, group_digits, higher, lower};
use super::filling::Filling;
use super::table::Table;
use crate::error::Error;

/// The quantity that grows from point to point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    Rooms,
    Members,
    Rows,
    Connections,
    Nodes,
    FanOut,
    SmallRooms,
    HotRoom,
    History,
}

/// One measurement, which becomes one row of the table (for pages, several).
pub(super) struct Point {
    pub(super) label: String,
    /// The flags of the load test.
    pub(super) flags: Vec<String>,
    /// What is in the database before, if anything.
    pub(super) filling: Option<Filling>,
    pub(super) nodes: Nodes,
}

/// The processes that serve the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nodes {
    /// One, without Redis.
    Alone,
    /// This many, with Redis between them.
    WithRedis(usize),
}

/// The number of idle connections at the last point, if a process may open as many files.
const MANY_CONNECTIONS: u64 = 20_000;
/// The open files of the server and the load test that are not idle connections.
const OTHER_FILES: u64 = 1000;

const CLOSED_AND_STEADY: &[Figure] = &[
    higher("messages/s, closed loop", "/messages_per_second"),
    lower("p50, closed loop, ms", "/latency_ms/p50"),
    lower("p99, closed loop, ms", "/latency_ms/p99"),
    lower("p50 at 5,000/s, open loop, ms", "/steady/latency_ms/p50"),
    lower("p99 at 5,000/s, open loop, ms", "/steady/latency_ms/p99"),
    lower(
        "server CPU at 5,000/s, s per 1,000 messages",
        "/steady/server_cpu_seconds_per_1000_messages",
    ),
    lower(
        "database CPU at 5,000/s, s per 1,000 messages",
        "/steady/database_cpu_seconds_per_1000_messages",
    ),
];

const PER_DELIVERY: &[Figure] = &[
    higher("messages/s, closed loop", "/messages_per_second"),
    higher("deliveries/s, closed loop", "/deliveries_per_second"),
    lower(
        "server CPU, s per 1,000 deliveries",
        "/server_cpu_seconds_per_1000_deliveries",
    ),
    higher(
        "deliveries/s, saturation (either loop)",
        "/saturation_deliveries_per_second",
    ),
    lower(
        "server CPU at saturation, s per 1,000 deliveries",
        "/saturation_server_cpu_seconds_per_1000_deliveries",
    ),
    lower(
        "database CPU, s per 1,000 messages",
        "/database_cpu_seconds_per_1000_messages",
    ),
];

const ACROSS_NODES: &[Figure] = &[
    lower("p50, open loop, ms", "/base/latency_ms/p50"),
    lower("p99, open loop, ms", "/base/latency_ms/p99"),
    lower(
        "CPU of all nodes, s per 1,000 messages",
        "/base/server_cpu_seconds_per_1000_messages",
    ),
    lower(
        "CPU of all nodes, s per 1,000 deliveries",
        "/base/server_cpu_seconds_per_1000_deliveries",
    ),
    lower(
        "database CPU, s per 1,000 messages",
        "/base/database_cpu_seconds_per_1000_messages",
    ),
    lower(
        "Redis CPU, s per 1,000 messages",
        "/base/redis_cpu_seconds_per_1000_messages",
    ),
];

const FAN_OUT: &[Figure] = &[
    higher(
        "deliveries/s, saturation (either loop)",
        "/saturation_deliveries_per_second",
    ),
    lower(
        "CPU of all nodes at saturation, s per 1,000 deliveries",
        "/saturation_server_cpu_seconds_per_1000_deliveries",
    ),
    lower("p50 at half load, open loop, ms", "/half/latency_ms/p50"),
    lower("p99 at half load, open loop, ms", "/half/latency_ms/p99"),
    lower(
        "CPU of all nodes at half load, s per 1,000 messages",
        "/half/server_cpu_seconds_per_1000_messages",
    ),
    lower(
        "Redis CPU at half load, s per 1,000 messages",
        "/half/redis_cpu_seconds_per_1000_messages",
    ),
];

const SMALL_ROOMS: &[Figure] = &[
    higher(
        "messages/s, maximum (open loop)",
        "/max_messages_per_second",
    ),
    higher("deliveries/s at the maximum", "/deliveries_per_second"),
    lower("p50 at the maximum, ms", "/latency_ms/p50"),
    lower("p99 at the maximum, ms", "/latency_ms/p99"),
    lower(
        "CPU of all nodes, s per 1,000 deliveries",
        "/server_cpu_seconds_per_1000_deliveries",
    ),
    lower(
        "CPU of all nodes, s per 1,000 messages",
        "/server_cpu_seconds_per_1000_messages",
    ),
    lower(
        "database CPU, s per 1,000 messages",
        "/database_cpu_seconds_per_1000_messages",
    ),
    lower(
        "Redis CPU, s per 1,000 messages",
        "/redis_cpu_seconds_per_1000_messages",
    ),
];

const HOT_ROOM: &[Figure] = &[
    higher("messages/s, closed loop", "/closed/messages_per_second"),
    lower("p50, closed loop, ms", "/closed/latency_ms/p50"),
    lower("p99, closed loop, ms", "/closed/latency_ms/p99"),
    lower(
        "CPU of all nodes, s per 1,000 messages",
        "/closed/server_cpu_seconds_per_1000_messages",
    ),
    lower(
        "database CPU, s per 1,000 messages",
        "/closed/database_cpu_seconds_per_1000_messages",
    ),
];

const PAGE: &[Figure] = &[
    lower("p50 with beforeSeq, ms", "/before_ms/p50"),
    lower("p99 with beforeSeq, ms", "/before_ms/p99"),
    lower("p50 with afterSeq, ms", "/after_ms/p50"),
    lower("p99 with afterSeq, ms", "/after_ms/p99"),
];

impl Growth {
    pub(super) const ALL: [Self; 9] = [
        Self::Rooms,
        Self::Members,
        Self::Rows,
        Self::Connections,
        Self::Nodes,
        Self::FanOut,
        Self::SmallRooms,
        Self::HotRoom,
        Self::History,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Members => "members",
            Self::Rows => "rows",
            Self::Connections => "connections",
            Self::Nodes => "nodes",
            Self::FanOut => "fan-out",
            Self::SmallRooms => "small-rooms",
            Self::HotRoom => "hot-room",
            Self::History => "history",
        }
    }

    /// Returns the heading of the first column, and the load.
    fn headings(self) -> (&'static str, &'static str) {
        match self {
            Self::Rooms => (
                "active rooms",
                "200 messages in flight, then 5,000 messages/s, sent to all rooms in turn",
            ),
            Self::Members => ("members of a room", "4 senders, 2 messages in flight each"),
            Self::Rows => (
                "rows before",
                "64 senders with their own rooms, 8 messages in flight each, then 5,000 \
                 messages/s; the rows are spread over 1,000 rooms, including theirs",
            ),
            Self::Connections => (
                "idle connections",
                "64 senders with their own rooms, 8 messages in flight each, then 5,000 messages/s",
            ),
            Self::Nodes => (
                "nodes",
                "1,000 users in 100 rooms of ten, spread over the nodes, 2,000 messages/s",
            ),
            Self::FanOut => (
                "nodes",
                "one room, 1,000 members spread over the nodes, 4 of which send, at increasing rates",
            ),
            Self::SmallRooms => (
                "nodes",
                "1,000 users in 100 rooms of ten, spread over the nodes, at increasing rates",
            ),
            Self::HotRoom => (
                "nodes",
                "one room, 12 members spread over the nodes, all of which send, 4 messages in \
                 flight each",
            ),
            Self::History => (
                "page",
                "50 messages of a room with 1,000,000, one request at a time",
            ),
        }
    }

    fn figures(self) -> &'static [Figure] {
        match self {
            Self::Rooms | Self::Rows | Self::Connections => CLOSED_AND_STEADY,
            Self::Members => PER_DELIVERY,
            Self::Nodes => ACROSS_NODES,
            Self::FanOut => FAN_OUT,
            Self::SmallRooms => SMALL_ROOMS,
            Self::HotRoom => HOT_ROOM,
            Self::History => PAGE,
        }
    }

    /// # Errors
    /// The limit on open files is unknown.
    pub(super) fn points(self) -> Result<Vec<Point>, Error> {
        Ok(match self {
            Self::Rooms => Vec::from([
                rooms(10, 1, 3),
                rooms(200, 1, 3),
                rooms(200, 5, 3),
                rooms(200, 50, 5),
                // Warms up until every room has had its first message.
                rooms(200, 500, 25),
            ]),
            Self::Members => [10, 100, 1000, 5000].map(members).into(),
            Self::Rows => [0, 1_000_000, 10_000_000].map(rows).into(),
            Self::Connections => [0, MANY_CONNECTIONS / 2, most_connections()?]
                .map(connections)
                .into(),
            Self::Nodes => nodes("--scenario s4 --rate 2000 --step-seconds 0 --seconds 10"),
            Self::FanOut => {
                nodes("--scenario s2 --connections 1000 --warm-up 1 --seconds 3 --step-seconds 1")
            }
            Self::SmallRooms => {
                nodes("--scenario s4 --rate 4000 --warm-up 1 --seconds 3 --step-seconds 1.5")
            }
            Self::HotRoom => {
                nodes("--scenario s2 --connections 12 --senders 12 --in-flight 4 --step-seconds 0")
            }
            Self::History => Vec::from([Point {
                label: String::new(),
                flags: flags("--scenario s5 --calls 300"),
                filling: Some(Filling::new(1_000_000, 1)),
                nodes: Nodes::Alone,
            }]),
        })
    }

    /// Returns a point's rows of the table, each with the results that it summarizes.
    pub(super) fn rows(self, label: String, results: Vec<Value>) -> Vec<(String, Vec<Value>)> {
        if self != Self::History {
            return vec![(label, results)];
        }
        let places = [
            ("at the end", "end"),
            ("in the middle", "middle"),
            ("at the beginning", "beginning"),
        ];
        places
            .map(|(label, name)| {
                let of_place = results.iter().map(|result| result[name].clone());
                (label.to_owned(), of_place.collect())
            })
            .into()
    }

    /// Returns the table of medians with its caption.
    pub(super) fn table(self, rows: &[(String, Vec<Value>)]) -> String {
        let (counted, load) = self.headings();
        let labels = self.figures().iter().map(|figure| figure.label);
        let headings = std::iter::once(counted).chain(labels).map(str::to_owned);
        let mut table = Table::new(&headings.collect::<Vec<_>>());
        for (label, results) in rows {
            let figures = self.figures().iter();
            let cells = figures.map(|figure| cell(figure.spread(results).as_ref()));
            let cells: Vec<_> = std::iter::once(label.clone()).chain(cells).collect();
            table.push(&cells);
        }
        format!("{}: {load}.\n\n{table}", self.name())
    }
}

impl FromStr for Growth {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|growth| growth.name() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("--growth must be one of {names}, not \"{name}\"")
        })
    }
}

pub(super) fn flags(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The number of messages in flight does not depend on the number of connections.
fn rooms(connections: u64, each: u64, warm_up: u64) -> Point {
    let in_flight = 200 / connections;
    let all = group_digits(connections * each);
    Point {
        label: format!("{all} ({connections} connections, {each} each)"),
        flags: flags(&format!(
            "--scenario s1 --steady-rate 5000 --connections {connections} --rooms-each {each} \
             --in-flight {in_flight} --warm-up {warm_up}"
        )),
        filling: None,
        nodes: Nodes::Alone,
    }
}

fn members(count: u64) -> Point {
    Point {
        label: group_digits(count),
        flags: flags(&format!("--scenario s2 --connections {count}")),
        filling: None,
        nodes: Nodes::Alone,
    }
}

fn rows(messages: u64) -> Point {
    Point {
        label: group_digits(messages),
        flags: flags("--scenario s1 --steady-rate 5000 --in-flight 8"),
        filling: (messages > 0).then(|| Filling::new(messages, 1000)),
        nodes: Nodes::Alone,
    }
}

fn connections(idle: u64) -> Point {
    Point {
        label: group_digits(idle),
        flags: flags(&format!(
            "--scenario s1 --steady-rate 5000 --in-flight 8 --idle-connections {idle}"
        )),
        filling: None,
        nodes: Nodes::Alone,
    }
}

fn nodes(load: &str) -> Vec<Point> {
    let with_redis = (1..=3).map(|count| (count.to_string(), Nodes::WithRedis(count)));
    std::iter::once(("1, without Redis".to_owned(), Nodes::Alone))
        .chain(with_redis)
        .map(|(label, nodes)| Point {
            label,
            flags: flags(load),
            filling: None,
            nodes,
        })
        .collect()
}

/// Returns the number of idle connections that the limit on open files permits.
fn most_connections() -> Result<u64, Error> {
    let output = Command::new("sh").args(["-c", "ulimit -Hn"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let limit = match text.trim() {
        "unlimited" => u64::MAX,
        number => number.parse()?,
    };
    Ok(MANY_CONNECTIONS.min(limit.saturating_sub(OTHER_FILES)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_number_of_messages_in_flight_does_not_depend_on_the_number_of_rooms() {
        for point in Growth::Rooms.points().unwrap() {
            let number = |name: &str| -> u64 {
                let at = point.flags.iter().position(|flag| flag == name).unwrap();
                point.flags[at + 1].parse().unwrap()
            };
            assert_eq!(number("--connections") * number("--in-flight"), 200);
        }
    }

    #[test]
    fn a_table_has_a_row_for_each_point_and_for_each_place_of_a_page() {
        let result = json!({ "messages_per_second": 1500.0 });
        let rows = Growth::Rooms.rows("10".to_owned(), vec![result]);
        let table = Growth::Rooms.table(&rows);
        assert!(
            table.contains("| active rooms | messages/s, closed loop |"),
            "{table}"
        );
        assert!(table.contains("\n| 10 | 1,500 | – |"), "{table}");

        let place = json!({ "before_ms": { "p50": 0.5, "p99": 1.5 } });
        let result = json!({ "end": place, "middle": place, "beginning": place });
        let rows = Growth::History.rows(String::new(), vec![result]);
        let table = Growth::History.table(&rows);
        assert_eq!(
            table.matches("| 0.5000 | 1.50 | – | – |").count(),
            3,
            "{table}"
        );
    }
}
