//! Figures of many runs: medians, and the table that people read.

use serde_json::{Value, json};

use super::plan::{Scenario, ScenarioKind};

/// One run of one contestant.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) contestant: String,
    pub(crate) scenario: String,
    /// From 1 on.
    pub(crate) repeat: usize,
    /// Messages in the database afterwards.
    pub(crate) rows: u64,
    /// What the load test printed.
    pub(crate) result: Value,
}

impl Run {
    pub(crate) fn json(&self) -> Value {
        json!({
            "contestant": self.contestant,
            "scenario": self.scenario,
            "repeat": self.repeat,
            "rows": self.rows,
            "result": self.result,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Better {
    Higher,
    Lower,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shown {
    Always,
    /// Not where it is zero for everybody.
    IfAny,
}

/// A line of the table of scenarios, a column of those of growth.
pub(super) struct Figure {
    label: &'static str,
    /// Where it is in the load test's result.
    pointer: &'static str,
    better: Better,
}

pub(super) const fn higher(label: &'static str, pointer: &'static str) -> Figure {
    Figure {
        label,
        pointer,
        better: Better::Higher,
    }
}

pub(super) const fn lower(label: &'static str, pointer: &'static str) -> Figure {
    Figure {
        label,
        pointer,
        better: Better::Lower,
    }
}

const CLOSED_LOOP: &[Figure] = &[
    higher("messages/s", "/messages_per_second"),
    lower("p50, ms", "/latency_ms/p50"),
    lower("p99, ms", "/latency_ms/p99"),
    lower(
        "server CPU, s per 1,000 messages",
        "/server_cpu_seconds_per_1000_messages",
    ),
    lower(
        "database CPU, s per 1,000 messages",
        "/database_cpu_seconds_per_1000_messages",
    ),
];

const ONE_ROOM: &[Figure] = &[
    higher(
        "deliveries/s, saturation",
        "/saturation_deliveries_per_second",
    ),
    higher(
        "deliveries/s, p99 up to 250 ms",
        "/deliveries_per_second_p99_250",
    ),
    higher("deliveries/s, closed loop", "/closed/deliveries_per_second"),
    lower("p50 at half load, ms", "/half/latency_ms/p50"),
    lower("p99 at half load, ms", "/half/latency_ms/p99"),
    lower(
        "server CPU at saturation, s per 1,000 deliveries",
        "/saturation_server_cpu_seconds_per_1000_deliveries",
    ),
    lower(
        "server CPU in the closed loop, s per 1,000 messages",
        "/server_cpu_seconds_per_1000_messages",
    ),
];

const IDLE: &[Figure] = &[
    higher("connections/s", "/connections_per_second"),
    lower("KiB per connection", "/server_kib_per_connection"),
    lower(
        "server CPU, s per 1,000 connections",
        "/server_cpu_seconds_per_1000_connections",
    ),
    lower("server CPU while idle, s", "/idle_cpu_seconds"),
];

const ROOMS: &[Figure] = &[
    higher("messages/s, most", "/max_messages_per_second"),
    lower("p50 at the first rate, ms", "/base/latency_ms/p50"),
    lower("p99 at the first rate, ms", "/base/latency_ms/p99"),
    lower("p50 at most, ms", "/latency_ms/p50"),
    lower("p99 at most, ms", "/latency_ms/p99"),
    lower(
        "server CPU, s per 1,000 messages",
        "/server_cpu_seconds_per_1000_messages",
    ),
    lower(
        "database CPU, s per 1,000 messages",
        "/database_cpu_seconds_per_1000_messages",
    ),
];

/// What no run should have.
const BROKEN: &[Figure] = &[
    lower("deliveries missing", "/missing"),
    lower("deliveries doubled", "/doubled"),
    lower("deliveries out of order", "/misordered"),
    lower("messages refused", "/errors"),
    lower("connections lost", "/connections_lost"),
];

/// Medians with the lowest and the highest, in Markdown: a column for each contestant,
/// ours first, and with peers the ratio of ours to the best of them.
pub(crate) fn table(scenarios: &[Scenario], contestants: &[String], runs: &[Run]) -> String {
    let has_peers = contestants.len() > 1;
    let mut header = vec!["scenario".to_owned(), "figure".to_owned()];
    header.extend(contestants.iter().cloned());
    if has_peers {
        header.push("ours / best peer".to_owned());
    }
    let rule = "|---".repeat(header.len()) + "|\n";
    let mut text = row(&header) + &rule;
    for scenario in scenarios {
        let figures = match scenario.kind {
            ScenarioKind::S1 => CLOSED_LOOP,
            ScenarioKind::S2 => ONE_ROOM,
            ScenarioKind::S3 => IDLE,
            ScenarioKind::S4 => ROOMS,
        };
        let figures = figures.iter().map(|figure| (figure, Shown::Always));
        let broken = BROKEN.iter().map(|figure| (figure, Shown::IfAny));
        for (figure, shown) in figures.chain(broken) {
            let spreads: Vec<Option<Spread>> = contestants
                .iter()
                .map(|contestant| {
                    let values = runs
                        .iter()
                        .filter(|run| {
                            run.contestant == *contestant && run.scenario == scenario.name
                        })
                        .filter_map(|run| run.result.pointer(figure.pointer)?.as_f64());
                    Spread::of(values.collect())
                })
                .collect();
            let is_none = |spread: &Spread| spread.max == 0.0;
            if shown == Shown::IfAny && spreads.iter().flatten().all(is_none) {
                continue;
            }
            let mut cells = vec![scenario.name.clone(), figure.label.to_owned()];
            cells.extend(spreads.iter().map(|spread| match spread {
                Some(spread) => spread.show(),
                None => "–".to_owned(),
            }));
            if has_peers {
                let ratio = ratio(figure.better, &spreads);
                cells.push(ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")));
            }
            text += &row(&cells);
        }
    }
    text
}

/// Medians with the lowest and the highest, in Markdown: a line for each point with the
/// load test's results of its runs, a column for each figure.
pub(super) fn table_of_points(
    counted: &str,
    figures: &[Figure],
    points: &[(String, Vec<Value>)],
) -> String {
    let labels = figures.iter().map(|figure| figure.label.to_owned());
    let header: Vec<String> = std::iter::once(counted.to_owned()).chain(labels).collect();
    let mut text = row(&header) + &"|---".repeat(header.len()) + "|\n";
    for (label, results) in points {
        let mut cells = vec![label.clone()];
        cells.extend(figures.iter().map(|figure| {
            let values = results.iter();
            let values = values.filter_map(|result| result.pointer(figure.pointer)?.as_f64());
            Spread::of(values.collect()).map_or("–".to_owned(), |spread| spread.show())
        }));
        text += &row(&cells);
    }
    text
}

/// Ours, which stands first, to the best of the others.
fn ratio(better: Better, spreads: &[Option<Spread>]) -> Option<f64> {
    let (ours, peers) = spreads.split_first()?;
    let peers = peers.iter().flatten().map(|spread| spread.median);
    let best = match better {
        Better::Higher => peers.reduce(f64::max),
        Better::Lower => peers.reduce(f64::min),
    };
    best.filter(|best| *best > 0.0)
        .and_then(|best| Some(ours.as_ref()?.median / best))
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// What some runs had in common.
#[derive(Debug, Clone, PartialEq)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    /// `None` of nothing.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0,
        };
        Some(Self {
            min: *values.first()?,
            median,
            max: *values.last()?,
        })
    }

    fn show(&self) -> String {
        let [min, median, max] = [self.min, self.median, self.max].map(number);
        match min == max {
            true => median,
            false => format!("{median} ({min}–{max})"),
        }
    }
}

/// With as many digits as mean something.
fn number(value: f64) -> String {
    match value.abs() {
        1000.0.. => group_digits(value.round() as u64),
        100.0.. => format!("{value:.0}"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.001.. => format!("{value:.4}"),
        _ => format!("{value:.6}"),
    }
}

/// With a comma before each three digits.
pub(super) fn group_digits(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(contestant: &str, rate: f64, p99: f64) -> Run {
        Run {
            contestant: contestant.to_owned(),
            scenario: "s1w1".to_owned(),
            repeat: 1,
            rows: 0,
            result: json!({
                "messages_per_second": rate,
                "latency_ms": { "p50": 0.5, "p99": p99 },
                "server_cpu_seconds_per_1000_messages": null,
            }),
        }
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let median = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| spread.median);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        for (value, text) in [
            (1_234_567.8, "1,234,568"),
            (999.6, "1000"),
            (123.4, "123"),
            (12.34, "12.3"),
            (17.0, "17"),
            (1.234, "1.23"),
            (0.123_45, "0.1235"),
            (0.000_123, "0.000123"),
            (0.0, "0"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn alone_ours_has_no_ratio() {
        let scenarios = ["s1w1".parse().unwrap()];
        let runs = [900.0, 1000.0, 1100.0].map(|rate| run("ours", rate, 10.0));
        let table = table(&scenarios, &["ours".to_owned()], &runs);
        let mut lines = table.lines();
        assert_eq!(lines.next(), Some("| scenario | figure | ours |"));
        assert_eq!(lines.next(), Some("|---|---|---|"));
        assert_eq!(
            lines.next(),
            Some("| s1w1 | messages/s | 1,000 (900–1,100) |")
        );
        assert!(table.contains("| s1w1 | server CPU, s per 1,000 messages | – |"));
    }

    #[test]
    fn ours_is_compared_with_the_best_peer_whichever_way_is_better() {
        let scenarios = ["s1w1".parse().unwrap()];
        let contestants = ["ours", "a", "b"].map(str::to_owned);
        let runs = [
            run("ours", 300.0, 5.0),
            run("a", 100.0, 40.0),
            run("b", 200.0, 10.0),
        ];
        let table = table(&scenarios, &contestants, &runs);
        assert!(table.contains("| s1w1 | messages/s | 300 | 100 | 200 | 1.50 |"));
        assert!(table.contains("| s1w1 | p99, ms | 5 | 40 | 10 | 0.50 |"));
        assert!(!table.contains("out of order"), "{table}");
    }

    #[test]
    fn broken_promises_stand_in_the_table() {
        let scenarios = ["s1w1".parse().unwrap()];
        let contestants = ["ours", "a"].map(str::to_owned);
        let mut runs = [run("ours", 300.0, 5.0), run("a", 100.0, 40.0)];
        runs[0].result["misordered"] = json!(0);
        runs[1].result["misordered"] = json!(17);
        let table = table(&scenarios, &contestants, &runs);
        assert!(
            table.contains("| s1w1 | deliveries out of order | 0 | 17 | 0.00 |"),
            "{table}"
        );
    }
}
