//! The result of a run, as JSON and as text.

use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::Value;

use crate::latency::Percentiles;
use crate::ledger::Counts;
use crate::measure::Phase;
use crate::plan::Scenario;

/// The result of a run. As JSON, it is one object with exactly these names; a figure that
/// the scenario does not have, or that was not measured, is `null`.
///
/// The rates, the latency and the costs at the top level belong to the main phase of the
/// scenario: the first phase of s1, the closed loop of s2, and the highest sustained rate
/// of s4 (or its first rate, if none was sustained). The counts cover the whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    scenario: &'static str,
    parameters: Scenario,
    connections_per_second: f64,
    messages_per_second: Option<f64>,
    deliveries_per_second: Option<f64>,
    latency_ms: Option<Percentiles>,
    sent: u64,
    /// Messages that arrived at their senders.
    acknowledged: u64,
    /// Arrivals of all messages at all members.
    deliveries: u64,
    /// The deliveries that the sent messages should cause.
    expected: u64,
    missing: u64,
    doubled: u64,
    misordered: u64,
    /// Messages that the server refused.
    errors: u64,
    /// Connections that were lost under load.
    connections_lost: u64,
    server_cpu_seconds_per_1000_messages: Option<f64>,
    server_cpu_seconds_per_1000_deliveries: Option<f64>,
    database_cpu_seconds_per_1000_messages: Option<f64>,
    generator_cpu_seconds_per_1000_messages: Option<f64>,
    generator_cpu_seconds_per_1000_deliveries: Option<f64>,
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
        saturation_server_cpu_seconds_per_1000_deliveries: Option<f64>,
        /// The highest rate with a 99th percentile of at most 250 ms.
        deliveries_per_second_p99_250: f64,
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
        }
    }
}

impl Report {
    pub(crate) fn new(
        scenario: Scenario,
        connections_per_second: f64,
        counts: Counts,
        outcome: Outcome,
    ) -> Self {
        let phase = outcome.main_phase();
        let cost = |of: fn(&Phase) -> Option<f64>| phase.and_then(of);
        Self {
            scenario: scenario.name(),
            parameters: scenario,
            connections_per_second,
            messages_per_second: phase.map(|phase| phase.messages_per_second),
            deliveries_per_second: phase.map(|phase| phase.deliveries_per_second),
            latency_ms: phase.and_then(|phase| phase.latency_ms),
            sent: counts.sent,
            acknowledged: counts.acknowledged,
            deliveries: counts.deliveries,
            expected: counts.expected,
            missing: counts.missing(),
            doubled: counts.doubled,
            misordered: counts.misordered,
            errors: counts.errors,
            connections_lost: counts.lost,
            server_cpu_seconds_per_1000_messages: cost(|p| p.server_cpu_seconds_per_1000_messages),
            server_cpu_seconds_per_1000_deliveries: cost(|p| {
                p.server_cpu_seconds_per_1000_deliveries
            }),
            database_cpu_seconds_per_1000_messages: cost(|p| {
                p.database_cpu_seconds_per_1000_messages
            }),
            generator_cpu_seconds_per_1000_messages: cost(|p| {
                p.generator_cpu_seconds_per_1000_messages
            }),
            generator_cpu_seconds_per_1000_deliveries: cost(|p| {
                p.generator_cpu_seconds_per_1000_deliveries
            }),
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

    /// Returns whether all messages arrived once and in order and no connection was lost.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missing + self.doubled + self.misordered + self.connections_lost == 0
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
