//! `cargo xtask bench --redis-faults`: what members notice, on the sender's node and on the
//! other one, while Redis fails between two nodes.

mod cable;
mod fault;
mod hints;

use std::io::{self, BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};
use std::sync::mpsc;
use std::thread::scope;

use chat_test_support::{Redis, RedisOptions};
use serde_json::Value;

use self::cable::Cable;
pub(super) use self::fault::Fault;
use self::fault::Links;
use self::hints::{Hints, Observed};
use super::contestant::{Contestant, Promises};
use super::figure::{Spread, cell};
use super::growth::flags;
use super::table::Table;
use super::{Bench, Servers, result_of};
use crate::error::Error;
use crate::machine::step;
use crate::needs::{install_missing, redis};

/// What the load test prints when a fault must begin, and when it must end.
const BEGINS: &str = "loadtest: s6: the fault begins";
const ENDS: &str = "loadtest: s6: the fault ends";

/// The members of each room are spread over the nodes.
const LOAD: &str = "--scenario s6 --connections 100 --rooms 10 --rate 500 --warm-up 2";

const NODES: usize = 2;

/// The nodes whose members write to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writers {
    /// One node for each room. What the sender's node delivers needs no other node.
    OneNode,
    /// Both. A message waits for those before it, also for those of the other node.
    BothNodes,
}

impl Writers {
    const ALL: [Self; 2] = [Self::OneNode, Self::BothNodes];

    fn description(self) -> &'static str {
        match self {
            Self::OneNode => "each room is written from one node",
            Self::BothNodes => "each room is written from both nodes",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::OneNode => "--writing-nodes 1",
            Self::BothNodes => "--writing-nodes 0",
        }
    }
}

/// A figure that is measured before and during the fault.
const COMPARED: [(&str, &str); 10] = [
    (
        "local messages/s, closed loop",
        "closed/messages_per_second",
    ),
    ("local p50, open loop, ms", "open/local_latency_ms/p50"),
    ("local p99, open loop, ms", "open/local_latency_ms/p99"),
    (
        "slowest delivery to the other node, open loop, ms",
        "open/remote_latency_ms/max",
    ),
    (
        "slowest delivery to the other node, closed loop, ms",
        "closed/remote_latency_ms/max",
    ),
    (
        "CPU of both nodes, open loop, s per 1,000 messages",
        "open/server_cpu_seconds_per_1000_messages",
    ),
    (
        "CPU of PostgreSQL, open loop, s per 1,000 messages",
        "open/database_cpu_seconds_per_1000_messages",
    ),
    (
        "CPU of both nodes, closed loop, s per 1,000 messages",
        "closed/server_cpu_seconds_per_1000_messages",
    ),
    (
        "CPU of PostgreSQL, closed loop, s per 1,000 messages",
        "closed/database_cpu_seconds_per_1000_messages",
    ),
    (
        "CPU of Redis, closed loop, s per 1,000 messages",
        "closed/redis_cpu_seconds_per_1000_messages",
    ),
];

/// A figure of the whole run.
const COUNTED: [(&str, &str); 5] = [
    ("hints flow again after, ms", "/hints_again_ms"),
    ("hints lost, by the metrics", "/hints_lost"),
    ("deliveries missing", "/missing"),
    ("deliveries repeated", "/doubled"),
    ("deliveries out of order", "/misordered"),
];

impl Bench {
    /// Strikes each contestant with each fault, and prints a table for each contestant.
    pub(super) fn run_redis_faults(
        &self,
        faults: &[Fault],
        repeats: usize,
    ) -> Result<ExitCode, Error> {
        println!(
            "Median (lowest–highest) of {repeats} runs, {}. Two nodes; 100 users in 10 rooms; in \
             the open loop 500 messages/s, in the closed loop one message of each user in \
             flight. Local: on the sender's node.\n",
            self.conditions
        );
        for (contestant, writers) in self
            .contestants
            .iter()
            .flat_map(|contestant| Writers::ALL.map(|writers| (contestant, writers)))
        {
            let caption = format!("{}, {}", contestant.name, writers.description());
            let mut table = new_table();
            for fault in faults {
                step(&format!("{caption}: {}", fault.description()));
                let results = (0..repeats).map(|_| self.measure_fault(contestant, writers, *fault));
                let results: Vec<Value> = results.collect::<Result<_, _>>()?;
                add_rows(&mut table, fault.description(), &results);
            }
            println!("{caption}:\n\n{table}");
        }
        Ok(ExitCode::SUCCESS)
    }

    fn measure_fault(
        &self,
        contestant: &Contestant,
        writers: Writers,
        fault: Fault,
    ) -> Result<Value, Error> {
        install_missing(&[redis::NEED])?;
        let database = self.database.recreate(&contestant.schema)?;
        let redis = Redis::start(RedisOptions::default())?;
        let cable = match fault.needs_cable() {
            true => Some(Cable::start(redis.port())?),
            false => None,
        };
        let url = cable.as_ref().map_or_else(|| redis.url(), Cable::url);
        let nodes = (1..=NODES).map(|n| self.start_node(contestant, &database, Some(&url), n));
        let mut servers = Servers {
            nodes: nodes.collect::<Result<_, _>>()?,
            redis: Some(redis),
        };
        // Only the gateway counts its hints.
        let hints = (contestant.keeps == Promises::All).then(|| Hints::of(&servers.nodes));
        let load = format!("{LOAD} --seconds {} {}", fault.seconds(), writers.flag());
        let load = flags(&load);
        let mut load = self.load_command(&servers, &load)?;
        let redis = servers.redis.as_mut().ok_or("the nodes have no Redis")?;
        load.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut load = load.spawn()?;
        let lines = BufReader::new(load.stderr.take().ok_or("no standard error")?);
        let links = Links {
            redis,
            cable: cable.as_ref(),
        };
        scope(|threads| {
            let (begin, begins) = mpsc::channel();
            let (end, ends) = mpsc::channel();
            let striking = threads.spawn(move || strike(fault, links, hints, &begins, &ends));
            for line in lines.lines().map_while(Result::ok) {
                eprintln!("{line}");
                // The receiver is gone if the strike failed.
                match line.as_str() {
                    BEGINS => drop(begin.send(())),
                    ENDS => drop(end.send(())),
                    _ => {}
                }
            }
            drop((begin, end));
            let output = load.wait_with_output()?;
            let observed = striking.join().map_err(|_| "the fault panicked")?;
            let mut result = result_of(&output, contestant.keeps)?;
            if let Some(observed) = observed? {
                result["hints_again_ms"] = (observed.again.as_secs_f64() * 1000.0).into();
                result["hints_lost"] = observed.lost.into();
            }
            Ok(result)
        })
    }
}

/// Strikes when the load test says so. Returns what the hints did, if they are counted.
fn strike(
    fault: Fault,
    mut links: Links,
    hints: Option<Hints>,
    begins: &mpsc::Receiver<()>,
    ends: &mpsc::Receiver<()>,
) -> io::Result<Option<Observed>> {
    begins.recv().map_err(io::Error::other)?;
    let lost = match &hints {
        Some(hints) => hints.lost()?,
        None => 0,
    };
    let recovered = fault.last(&mut links, ends)?;
    let Some(hints) = hints else { return Ok(None) };
    let again = hints.flow_again(recovered)?;
    let lost = hints.lost()? - lost;
    Ok(Some(Observed { again, lost }))
}

fn new_table() -> Table {
    let headings = ["fault", "figure", "before", "during", "during / before"];
    Table::new(&headings.map(str::to_owned))
}

fn add_rows(table: &mut Table, fault: &str, results: &[Value]) {
    let number = |result: &Value, pointer: &str| result.pointer(pointer).and_then(Value::as_f64);
    for (label, figure) in COMPARED {
        let values = |when: &str| -> Vec<Option<f64>> {
            let pointer = format!("/{when}/{figure}");
            results.iter().map(|r| number(r, &pointer)).collect()
        };
        let (before, during) = (values("before"), values("during"));
        let ratios = before.iter().zip(&during);
        let ratios = ratios.map(|(before, during)| Some((*during)? / before.filter(|b| *b > 0.0)?));
        let ratios: Vec<f64> = ratios.flatten().collect();
        let spread = |values: Vec<Option<f64>>| Spread::of(values.into_iter().flatten().collect());
        let columns = [spread(before), spread(during), Spread::of(ratios)];
        push(table, fault, label, &columns);
    }
    for (label, pointer) in COUNTED {
        let values = results.iter().filter_map(|result| number(result, pointer));
        push(
            table,
            fault,
            label,
            &[None, Spread::of(values.collect()), None],
        );
    }
}

fn push(table: &mut Table, fault: &str, label: &str, columns: &[Option<Spread>]) {
    let cells = columns.iter().map(|spread| cell(spread.as_ref()));
    let labels = [fault.to_owned(), label.to_owned()];
    table.push(&labels.into_iter().chain(cells).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_change_is_that_within_each_run() {
        let result = |before: f64, during: f64| {
            json!({
                "before": { "closed": { "messages_per_second": before } },
                "during": { "closed": { "messages_per_second": during } },
                "hints_lost": 7,
            })
        };
        let mut table = new_table();
        add_rows(
            &mut table,
            "x",
            &[result(100.0, 90.0), result(200.0, 220.0)],
        );
        let table = table.to_string();
        let row = "| x | local messages/s, closed loop | 150 (100–200) | 155 (90–220) | 1 (0.9000–1.10) |";
        assert!(table.contains(row), "{table}");
        assert!(
            table.contains("| x | hints lost, by the metrics | – | 7 | – |"),
            "{table}"
        );
    }
}
