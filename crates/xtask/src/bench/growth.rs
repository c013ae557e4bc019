//! `cargo xtask bench --growth`: what a message, a delivery and a page cost as rooms,
//! members, rows and connections become many.

use std::process::Command;
use std::str::FromStr;

use serde_json::Value;

use super::results::{Figure, group_digits as digits, higher, lower, table_of_points};
use crate::Error;

/// What becomes more from point to point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    Rooms,
    Members,
    Rows,
    Connections,
    History,
}

/// One line of a table, or with pages several.
pub(super) struct Point {
    pub(super) label: String,
    /// The load test's.
    pub(super) flags: Vec<String>,
    pub(super) filling: Option<Filling>,
}

/// What is in the database before: so many messages of a hundred characters, spread evenly
/// over the rooms, each of which has ten authors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling {
    pub(super) messages: u64,
    /// A divisor of the messages.
    rooms: u64,
}

/// How many messages are inserted at once.
const CHUNK: u64 = 1_000_000;
const AUTHORS: u64 = 1000;
/// The most that are tried beside the senders, where a process may have as many files.
const MANY_CONNECTIONS: u64 = 20_000;
/// Files of the server and the load test that are no idle connections.
const OTHER_FILES: u64 = 1000;

const CLOSED_AND_STEADY: &[Figure] = &[
    higher("messages/s", "/messages_per_second"),
    lower("p50, ms", "/latency_ms/p50"),
    lower("p99, ms", "/latency_ms/p99"),
    lower("p50 at 5,000/s, ms", "/steady/latency_ms/p50"),
    lower("p99 at 5,000/s, ms", "/steady/latency_ms/p99"),
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
    higher("messages/s", "/messages_per_second"),
    higher("deliveries/s", "/deliveries_per_second"),
    lower(
        "server CPU, s per 1,000 deliveries",
        "/server_cpu_seconds_per_1000_deliveries",
    ),
    higher(
        "deliveries/s, saturation",
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

const PAGE: &[Figure] = &[
    lower("p50 with beforeSeq, ms", "/before_ms/p50"),
    lower("p99 with beforeSeq, ms", "/before_ms/p99"),
    lower("p50 with afterSeq, ms", "/after_ms/p50"),
    lower("p99 with afterSeq, ms", "/after_ms/p99"),
];

impl Growth {
    pub(crate) const ALL: [Self; 5] = [
        Self::Rooms,
        Self::Members,
        Self::Rows,
        Self::Connections,
        Self::History,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Members => "members",
            Self::Rows => "rows",
            Self::Connections => "connections",
            Self::History => "history",
        }
    }

    /// What is counted in the first column, and under which load.
    fn headings(self) -> (&'static str, &'static str) {
        match self {
            Self::Rooms => (
                "active rooms",
                "200 messages in flight, then 5,000 messages/s, sent to all rooms in turn",
            ),
            Self::Members => (
                "members of a room",
                "4 senders, 2 messages of each in flight",
            ),
            Self::Rows => (
                "rows before",
                "64 senders in rooms of their own, 8 messages of each in flight, then 5,000 \
                 messages/s; the rows are spread over 1,000 rooms, theirs among them",
            ),
            Self::Connections => (
                "idle connections",
                "64 senders in rooms of their own, 8 messages of each in flight, then 5,000 messages/s",
            ),
            Self::History => (
                "page",
                "50 messages of a room of 1,000,000, one call after the other",
            ),
        }
    }

    fn figures(self) -> &'static [Figure] {
        match self {
            Self::Rooms | Self::Rows | Self::Connections => CLOSED_AND_STEADY,
            Self::Members => PER_DELIVERY,
            Self::History => PAGE,
        }
    }

    /// # Errors
    /// How many files a process may have open is not known.
    pub(super) fn points(self) -> Result<Vec<Point>, Error> {
        Ok(match self {
            Self::Rooms => Vec::from([
                rooms(10, 1, 3),
                rooms(200, 1, 3),
                rooms(200, 5, 3),
                rooms(200, 50, 5),
                // Long enough for every room to have had its first message.
                rooms(200, 500, 25),
            ]),
            Self::Members => [10, 100, 1000, 5000].map(members).into(),
            Self::Rows => [0, 1_000_000, 10_000_000].map(rows).into(),
            Self::Connections => [0, MANY_CONNECTIONS / 2, most_connections()?]
                .map(connections)
                .into(),
            Self::History => Vec::from([Point {
                label: String::new(),
                flags: flags("--scenario s5 --calls 300"),
                filling: Some(Filling {
                    messages: 1_000_000,
                    rooms: 1,
                }),
            }]),
        })
    }

    /// The lines of the table that a point's results make.
    pub(super) fn lines(self, label: String, results: Vec<Value>) -> Vec<(String, Vec<Value>)> {
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

    /// The whole table, with what it shows above it.
    pub(super) fn table(self, lines: &[(String, Vec<Value>)]) -> String {
        let (counted, load) = self.headings();
        let table = table_of_points(counted, self.figures(), lines);
        format!("{}: {load}.\n\n{table}", self.name())
    }
}

impl FromStr for Growth {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|growth| growth.name() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("--growth is of {names}, not of \"{name}\"")
        })
    }
}

impl Filling {
    /// The statements, one transaction each, for empty tables.
    pub(super) fn statements(self) -> Vec<String> {
        let Self { messages, rooms } = self;
        let mut statements = vec![format!(
            "insert into users select n::text, 'user' || n from generate_series(1, {AUTHORS}) n"
        )];
        // The first author of a room has its number, as the senders of the load test have.
        statements.extend((0..messages).step_by(CHUNK as usize).map(|first| {
            let last = (first + CHUNK).min(messages) - 1;
            format!(
                "insert into messages (room_id, seq, user_id, content, created_at)
                 select 1 + n % {rooms}, 1 + n / {rooms},
                        (1 + (n % {rooms} + n / {rooms} % 10) % {AUTHORS})::text,
                        rpad(n::text, 100, ' the quick brown fox jumps over the lazy dog'),
                        now() - ({messages} - n) * interval '1 millisecond'
                 from generate_series({first}::bigint, {last}) n"
            )
        }));
        statements.push(format!(
            "insert into rooms select n, {messages} / {rooms} from generate_series(1, {rooms}) n"
        ));
        statements.push(
            "insert into read_pointers
             select room_id, user_id, max(seq) from messages group by room_id, user_id"
                .to_owned(),
        );
        // What the server would do about so many new rows by itself, in the middle of a run.
        statements.extend(["vacuum (analyze)", "checkpoint"].map(str::to_owned));
        statements
    }
}

/// PostgreSQL writes over old files of its log faster than it makes new ones. These leave
/// it more of them than a run needs; without, the first points would be the slowest.
pub(super) const LEAVE_OLD_LOG: [&str; 4] = [
    "create table scrap as select rpad(n::text, 200) from generate_series(1, 2000000) n",
    "checkpoint",
    "drop table scrap",
    "checkpoint",
];

fn flags(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The same number of messages in flight, however many connections.
fn rooms(connections: u64, each: u64, warm_up: u64) -> Point {
    let in_flight = 200 / connections;
    let all = digits(connections * each);
    Point {
        label: format!("{all} ({connections} connections, {each} each)"),
        flags: flags(&format!(
            "--scenario s1 --steady-rate 5000 --connections {connections} --rooms-each {each} \
             --in-flight {in_flight} --warm-up {warm_up}"
        )),
        filling: None,
    }
}

fn members(count: u64) -> Point {
    Point {
        label: digits(count),
        flags: flags(&format!("--scenario s2 --connections {count}")),
        filling: None,
    }
}

fn rows(messages: u64) -> Point {
    Point {
        label: digits(messages),
        flags: flags("--scenario s1 --steady-rate 5000 --in-flight 8"),
        filling: (messages > 0).then_some(Filling {
            messages,
            rooms: 1000,
        }),
    }
}

fn connections(idle: u64) -> Point {
    Point {
        label: digits(idle),
        flags: flags(&format!(
            "--scenario s1 --steady-rate 5000 --in-flight 8 --idle-connections {idle}"
        )),
        filling: None,
    }
}

/// As many as a process may have open files.
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
    fn every_message_is_inserted_once_whatever_the_chunks() {
        let filling = Filling {
            messages: 2_500_000,
            rooms: 1000,
        };
        let statements = filling.statements();
        let ranges: Vec<_> = statements
            .iter()
            .filter_map(|sql| sql.split("generate_series(").nth(1)?.strip_suffix(") n"))
            .filter(|range| range.contains("bigint"))
            .collect();
        assert_eq!(
            ranges,
            [
                "0::bigint, 999999",
                "1000000::bigint, 1999999",
                "2000000::bigint, 2499999"
            ]
        );
        assert_eq!(statements.last().unwrap(), "checkpoint");
    }

    #[test]
    fn as_many_messages_are_in_flight_however_many_rooms() {
        for point in Growth::Rooms.points().unwrap() {
            let number = |name: &str| -> u64 {
                let at = point.flags.iter().position(|flag| flag == name).unwrap();
                point.flags[at + 1].parse().unwrap()
            };
            assert_eq!(number("--connections") * number("--in-flight"), 200);
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_point_and_for_each_place_of_a_page() {
        let result = json!({ "messages_per_second": 1500.0 });
        let lines = Growth::Rooms.lines("10".to_owned(), vec![result]);
        let table = Growth::Rooms.table(&lines);
        assert!(table.contains("| active rooms | messages/s |"), "{table}");
        assert!(table.contains("\n| 10 | 1,500 | – |"), "{table}");

        let place = json!({ "before_ms": { "p50": 0.5, "p99": 1.5 } });
        let result = json!({ "end": place, "middle": place, "beginning": place });
        let lines = Growth::History.lines(String::new(), vec![result]);
        let table = Growth::History.table(&lines);
        assert_eq!(
            table.matches("| 0.5000 | 1.50 | – | – |").count(),
            3,
            "{table}"
        );
    }
}
