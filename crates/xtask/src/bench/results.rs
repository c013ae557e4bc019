//! The results of the scenarios, and their table.

use serde_json::{Value, json};

use super::figure::{Better, Figure, Spread, cell, higher, lower};
use super::scenario::{Scenario, ScenarioKind};
use super::table::Table;

/// One run of one contestant.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) contestant: String,
    pub(super) scenario: String,
    /// Counted from 1.
    pub(super) repeat: usize,
    /// Messages in the database after the run.
    pub(super) rows: u64,
    /// The load test's output.
    pub(super) result: Value,
}

impl Run {
    pub(super) fn json(&self) -> Value {
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
enum Shown {
    Always,
    /// Unless it is zero for all contestants.
    IfAny,
}

const CLOSED_LOOP: &[Figure] = &[
    higher("messages/s, closed loop", "/messages_per_second"),
    lower("p50, closed loop, ms", "/latency_ms/p50"),
    lower("p99, closed loop, ms", "/latency_ms/p99"),
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
        "deliveries/s, saturation (either loop)",
        "/saturation_deliveries_per_second",
    ),
    higher(
        "deliveries/s, p99 of at most 250 ms (either loop)",
        "/deliveries_per_second_p99_250",
    ),
    higher("deliveries/s, closed loop", "/closed/deliveries_per_second"),
    lower("p50 at half load, open loop, ms", "/half/latency_ms/p50"),
    lower("p99 at half load, open loop, ms", "/half/latency_ms/p99"),
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
    higher(
        "messages/s, maximum (open loop)",
        "/max_messages_per_second",
    ),
    lower(
        "p50 at the first rate, open loop, ms",
        "/base/latency_ms/p50",
    ),
    lower(
        "p99 at the first rate, open loop, ms",
        "/base/latency_ms/p99",
    ),
    lower("p50 at the maximum, open loop, ms", "/latency_ms/p50"),
    lower("p99 at the maximum, open loop, ms", "/latency_ms/p99"),
    lower(
        "server CPU, s per 1,000 messages",
        "/server_cpu_seconds_per_1000_messages",
    ),
    lower(
        "database CPU, s per 1,000 messages",
        "/database_cpu_seconds_per_1000_messages",
    ),
];

/// The signs of a broken promise.
const BROKEN: &[Figure] = &[
    lower("deliveries missing", "/missing"),
    lower("deliveries repeated", "/doubled"),
    lower("deliveries out of order", "/misordered"),
    lower("deliveries in the wrong room", "/misrouted"),
    lower("messages refused", "/refused"),
    lower(
        "messages delivered although refused",
        "/delivered_although_refused",
    ),
    lower("messages not answered", "/unanswered"),
    lower("connections lost", "/connections_lost"),
];

/// Returns the medians with the lowest and the highest, with a column for each contestant.
/// The gateway is the first contestant. With peers, a last column has the ratio of the
/// gateway's median to the best peer's.
pub(super) fn table(scenarios: &[Scenario], contestants: &[String], runs: &[Run]) -> String {
    let has_peers = contestants.len() > 1;
    let mut headings = vec!["scenario".to_owned(), "figure".to_owned()];
    headings.extend(contestants.iter().cloned());
    if has_peers {
        headings.push("ours / best peer".to_owned());
    }
    let mut table = Table::new(&headings);
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
                .map(|contestant| figure.spread(results(runs, contestant, &scenario.name)))
                .collect();
            let is_zero = |spread: &Spread| spread.max == 0.0;
            if shown == Shown::IfAny && spreads.iter().flatten().all(is_zero) {
                continue;
            }
            let mut cells = vec![scenario.name.clone(), figure.label.to_owned()];
            cells.extend(spreads.iter().map(|spread| cell(spread.as_ref())));
            if has_peers {
                let ratio = ratio(figure.better, &spreads);
                cells.push(ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")));
            }
            table.push(&cells);
        }
    }
    table.to_string()
}

fn results<'a>(
    runs: &'a [Run],
    contestant: &'a str,
    scenario: &'a str,
) -> impl Iterator<Item = &'a Value> {
    runs.iter()
        .filter(move |run| run.contestant == contestant && run.scenario == scenario)
        .map(|run| &run.result)
}

/// Returns the ratio of the first median to the best of the others.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn without_peers_the_table_has_no_ratio() {
        let scenarios = ["s1w1".parse().unwrap()];
        let runs = [900.0, 1000.0, 1100.0].map(|rate| run("ours", rate, 10.0));
        let table = table(&scenarios, &["ours".to_owned()], &runs);
        let mut lines = table.lines();
        assert_eq!(lines.next(), Some("| scenario | figure | ours |"));
        assert_eq!(lines.next(), Some("|---|---|---|"));
        assert_eq!(
            lines.next(),
            Some("| s1w1 | messages/s, closed loop | 1,000 (900–1,100) |")
        );
        assert!(table.contains("| s1w1 | server CPU, s per 1,000 messages | – |"));
    }

    #[test]
    fn the_gateway_is_compared_with_the_best_peer() {
        let scenarios = ["s1w1".parse().unwrap()];
        let contestants = ["ours", "a", "b"].map(str::to_owned);
        let runs = [
            run("ours", 300.0, 5.0),
            run("a", 100.0, 40.0),
            run("b", 200.0, 10.0),
        ];
        let table = table(&scenarios, &contestants, &runs);
        assert!(table.contains("| s1w1 | messages/s, closed loop | 300 | 100 | 200 | 1.50 |"));
        assert!(table.contains("| s1w1 | p99, closed loop, ms | 5 | 40 | 10 | 0.50 |"));
        assert!(!table.contains("out of order"), "{table}");
    }

    #[test]
    fn a_broken_promise_adds_a_row() {
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
