//! The result of a run, as JSON and as text.

use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::Value;

use crate::generator::LoopMode;
use crate::latency::Percentiles;
use crate::ledger::Audit;
use crate::measure::{Meter, Phase};
use crate::plan::Scenario;

/// The result of a run. As JSON, it is one object with exactly these names; a figure that
/// the scenario does not have, or that was not measured, is `null`.
///
/// The rates, the latency and the costs at the top level belong to the main phase of the
/// scenario: the first phase of s1, the closed loop of s2, the highest sustained rate of s4
/// (or its first rate, if none was sustained), and the open loop of s6 during the fault. The
/// counts cover the whole run, and
/// none of them is a difference of others: one fault cannot hide another.
#[derive(Debug, Serialize)]
pub struct Report {
    scenario: &'static str,
    parameters: Scenario,
    connections_per_second: f64,
    /// Whether the main phase was a closed or an open loop.
    #[serde(rename = "loop")]
    mode: Option<LoopMode>,
    messages_per_second: Option<f64>,
    deliveries_per_second: Option<f64>,
    latency_ms: Option<Percentiles>,
    sent: u64,
    /// Messages that arrived at their senders.
    acknowledged: u64,
    /// Arrivals of this run's messages in rooms that the connections have joined.
    deliveries: u64,
    /// The deliveries that must arrive: of each message that was not refused, at each member.
    expected: u64,
    missing: u64,
    /// Deliveries of a message that the connection had already received.
    doubled: u64,
    misordered: u64,
    /// Deliveries in a room that the message was not sent to or the connection has not joined.
    misrouted: u64,
    /// Messages that the server refused.
    refused: u64,
    /// Messages that the server refused and a member received nevertheless.
    delivered_although_refused: u64,
    /// Messages that were neither acknowledged nor refused.
    unanswered: u64,
    /// Errors of all kinds: refused and unanswered messages, and errors about anything else.
    errors: u64,
    /// Connections that were lost under load.
    connections_lost: u64,
    /// Why the figures must not be used, whatever the server did.
    invalid: Vec<String>,
    server_cpu_seconds_per_1000_messages: Option<f64>,
    server_cpu_seconds_per_1000_deliveries: Option<f64>,
    database_cpu_seconds_per_1000_messages: Option<f64>,
    redis_cpu_seconds_per_1000_messages: Option<f64>,
    generator_cpu_seconds_per_1000_messages: Option<f64>,
    generator_cpu_seconds_per_1000_deliveries: Option<f64>,
    /// The share of a core that the load test's only thread used.
    generator_core_share: Option<f64>,
    server_kib_per_connection: Option<f64>,
    #[serde(flatten)]
    outcome: Outcome,
}

/// The figures that only one scenario has.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    ClosedLoop {
        #[serde(skip)]
        phase: Phase,
        /// At a fixed rate, at which costs can be compared: under more load, a server
        /// spends less on each message.
        steady: Option<Phase>,
    },
    OneRoom {
        /// The highest rate of any phase.
        saturation_deliveries_per_second: f64,
        /// The loop of that phase.
        saturation_loop: LoopMode,
        saturation_server_cpu_seconds_per_1000_deliveries: Option<f64>,
        /// The highest rate with a 99th percentile of at most 250 ms.
        deliveries_per_second_p99_250: f64,
        p99_250_loop: Option<LoopMode>,
        closed: Phase,
        /// At half of the saturation rate.
        half: Phase,
        ramp: Vec<Step>,
    },
    Idle {
        #[serde(skip)]
        server_kib_per_connection: Option<f64>,
        server_cpu_seconds_per_1000_connections: Option<f64>,
        /// What the server used during the whole idle time.
        idle_cpu_seconds: Option<f64>,
    },
    History {
        /// The number of the room's newest message.
        newest: u64,
        end: Pages,
        middle: Pages,
        beginning: Pages,
    },
    Rooms {
        /// The highest sustained rate.
        max_messages_per_second: f64,
        at_max: Option<Phase>,
        base: Phase,
    },
    Outage {
        before: Box<BothLoops>,
        during: Box<BothLoops>,
        /// The open loop.
        after: Box<Phase>,
    },
}

/// An open loop and a closed loop under the same conditions.
#[derive(Debug, Serialize)]
pub(crate) struct BothLoops {
    pub(crate) open: Phase,
    pub(crate) closed: Phase,
}

/// How long a full page took, requested with `beforeSeq` and with `afterSeq`.
#[derive(Debug, Serialize)]
pub(crate) struct Pages {
    pub(crate) before_ms: Option<Percentiles>,
    pub(crate) after_ms: Option<Percentiles>,
}

/// A phase at a given rate, as part of a search.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    offered_messages_per_second: f64,
    sustained: bool,
    #[serde(flatten)]
    pub(crate) phase: Phase,
}

impl Step {
    pub(crate) fn new(rate: f64, sustained: bool, phase: Phase) -> Self {
        Self {
            offered_messages_per_second: rate,
            sustained,
            phase,
        }
    }

    /// Prints the step as progress.
    pub(crate) fn print(&self, name: &str) {
        eprintln!(
            "loadtest: {name}: {:.0} messages/s offered, {:.0} deliveries/s, p99 {:.1} ms: {}",
            self.offered_messages_per_second,
            self.phase.deliveries_per_second,
            self.phase.p99(),
            if self.sustained {
                "sustained"
            } else {
                "not sustained"
            }
        );
    }
}

impl Outcome {
    fn main_phase(&self) -> Option<&Phase> {
        match self {
            Self::ClosedLoop { phase, .. } => Some(phase),
            Self::OneRoom { closed, .. } => Some(closed),
            Self::Idle { .. } | Self::History { .. } => None,
            Self::Rooms { at_max, base, .. } => Some(at_max.as_ref().unwrap_or(base)),
            Self::Outage { during, .. } => Some(&during.open),
        }
    }
}

impl Report {
    pub(crate) fn new(
        scenario: Scenario,
        connections_per_second: f64,
        outcome: Outcome,
        meter: &Meter,
    ) -> Self {
        let counts = meter.generator.ledger.counts;
        let Audit { expected, missing } = meter.generator.audit();
        let phase = outcome.main_phase();
        let cost = |of: fn(&Phase) -> Option<f64>| phase.and_then(of);
        Self {
            scenario: scenario.name(),
            parameters: scenario,
            connections_per_second,
            mode: phase.map(|phase| phase.mode),
            messages_per_second: phase.map(|phase| phase.messages_per_second),
            deliveries_per_second: phase.map(|phase| phase.deliveries_per_second),
            latency_ms: phase.and_then(|phase| phase.latency_ms),
            sent: counts.sent,
            acknowledged: counts.acknowledged,
            deliveries: counts.deliveries,
            expected,
            missing,
            doubled: counts.doubled,
            misordered: counts.misordered,
            misrouted: counts.misrouted,
            refused: counts.refused,
            delivered_although_refused: counts.delivered_although_refused,
            unanswered: counts.unanswered,
            errors: counts.errors(),
            connections_lost: counts.lost,
            invalid: meter.invalid().to_vec(),
            server_cpu_seconds_per_1000_messages: cost(|p| p.server_cpu_seconds_per_1000_messages),
            server_cpu_seconds_per_1000_deliveries: cost(|p| {
                p.server_cpu_seconds_per_1000_deliveries
            }),
            database_cpu_seconds_per_1000_messages: cost(|p| {
                p.database_cpu_seconds_per_1000_messages
            }),
            redis_cpu_seconds_per_1000_messages: cost(|p| p.redis_cpu_seconds_per_1000_messages),
            generator_cpu_seconds_per_1000_messages: cost(|p| {
                p.generator_cpu_seconds_per_1000_messages
            }),
            generator_cpu_seconds_per_1000_deliveries: cost(|p| {
                p.generator_cpu_seconds_per_1000_deliveries
            }),
            generator_core_share: phase.map(|phase| phase.generator_core_share),
            server_kib_per_connection: match &outcome {
                Outcome::Idle {
                    server_kib_per_connection,
                    ..
                } => *server_kib_per_connection,
                _ => None,
            },
            outcome,
        }
    }

    /// Checks that the figures are valid and that the server kept its promises.
    ///
    /// # Errors
    /// States everything that was wrong.
    pub fn verdict(&self) -> Result<(), String> {
        let faults = [
            (self.missing, "deliveries missing"),
            (self.doubled, "deliveries repeated"),
            (self.misordered, "deliveries out of order"),
            (self.misrouted, "deliveries in the wrong room"),
            (self.refused, "messages refused"),
            (
                self.delivered_although_refused,
                "messages delivered although refused",
            ),
            (self.unanswered, "messages not answered"),
            (self.errors - self.refused - self.unanswered, "other errors"),
            (self.connections_lost, "connections lost"),
        ];
        let faults = faults.into_iter().filter(|(count, _)| *count > 0);
        let faults = faults.map(|(count, what)| format!("{what}: {count}"));
        let all: Vec<String> = self.invalid.iter().cloned().chain(faults).collect();
        match all.is_empty() {
            true => Ok(()),
            false => Err(format!("the load test failed: {}", all.join("; "))),
        }
    }
}

/// The names of the JSON, one figure per line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        let mut rows = Vec::new();
        collect("", &value, &mut rows);
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, figure) in rows {
            writeln!(f, "{name:width$}  {figure}")?;
        }
        Ok(())
    }
}

fn collect(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let inner = |key: &str| match name {
        "" => key.to_owned(),
        _ => format!("{name}.{key}"),
    };
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (key, value) in fields {
                collect(&inner(key), value, rows);
            }
        }
        Value::Array(items) => {
            for (n, value) in items.iter().enumerate() {
                collect(&inner(&(n + 1).to_string()), value, rows);
            }
        }
        Value::String(text) => rows.push((name.to_owned(), text.clone())),
        Value::Number(number) => rows.push((name.to_owned(), figure(number))),
        Value::Bool(_) => rows.push((name.to_owned(), value.to_string())),
    }
}

/// Formats a number with its significant digits.
fn figure(number: &serde_json::Number) -> String {
    let value = number.as_f64().unwrap_or_default();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match value.abs() {
        _ if number.is_u64() => write!(text, "{number}"),
        100.0.. => write!(text, "{value:.0}"),
        1.0.. => write!(text, "{value:.2}"),
        _ => write!(text, "{value:.5}"),
    };
    text
}
