//! Phases of load: warm-up, measurement, and waiting for outstanding deliveries.

use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::generator::{Generator, LoopMode, Nanos, nanos};
use crate::latency::Percentiles;
use crate::ledger::{Apart, Counts};
use crate::open_loop::{OpenLoop, Random};
use crate::process::Processes;

/// The number of overdue messages that are sent before the connections are read again.
const MAX_OVERDUE: u32 = 64;

/// How long the messages that are overdue at the end of a phase may take to be sent.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// How often a drain checks whether it is complete.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A drain ends after this long without a delivery: missing ones are not expected any more.
const QUIET: Duration = Duration::from_secs(3);
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// How often progress is printed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Above this share of its core, the generator measures itself: it reads deliveries later
/// than they arrive, and sends messages later than they are due.
const MAX_CORE_SHARE: f64 = 0.9;

/// The figures of one phase. CPU times are `None` for a process that was not named.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Phase {
    #[serde(rename = "loop")]
    pub(crate) mode: LoopMode,
    pub(crate) seconds: f64,
    pub(crate) sent_per_second: f64,
    /// Messages that arrived at their sender.
    pub(crate) messages_per_second: f64,
    pub(crate) deliveries_per_second: f64,
    /// Of all messages that were due in the phase, read after the drain. A delivery that was
    /// missing then counts as the slowest.
    pub(crate) latency_ms: Option<Percentiles>,
    /// Of those that arrived on the sender's node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) local_latency_ms: Option<Percentiles>,
    /// Of those that arrived on other nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote_latency_ms: Option<Percentiles>,
    /// Refusals, other errors, and messages that were not answered before the end of the
    /// drain.
    pub(crate) errors: u64,
    pub(crate) server_cpu_seconds_per_1000_messages: Option<f64>,
    pub(crate) server_cpu_seconds_per_1000_deliveries: Option<f64>,
    pub(crate) database_cpu_seconds_per_1000_messages: Option<f64>,
    pub(crate) redis_cpu_seconds_per_1000_messages: Option<f64>,
    /// The load test itself.
    pub(crate) generator_cpu_seconds_per_1000_messages: Option<f64>,
    pub(crate) generator_cpu_seconds_per_1000_deliveries: Option<f64>,
    /// The share of a core that the load test's only thread used.
    pub(crate) generator_core_share: f64,
}

impl Phase {
    /// Returns the 99th percentile of latency in milliseconds; infinity if nothing was
    /// measured, so that it exceeds every bound.
    pub(crate) fn p99(&self) -> f64 {
        self.latency_ms.map_or(f64::INFINITY, |latency| latency.p99)
    }
}

/// What makes the figures of a phase meaningless, beside the server's faults.
#[derive(Debug, Clone, Copy)]
struct Validity {
    /// The measured deliveries.
    deliveries: u64,
    generator_core_share: f64,
    /// Whether messages that were due have not been sent.
    is_behind: bool,
}

impl Validity {
    /// Returns why the figures must not be used.
    fn objection(self) -> Option<String> {
        let percent = self.generator_core_share * 100.0;
        if self.generator_core_share > MAX_CORE_SHARE {
            return Some(format!(
                "the load test itself used {percent:.0} % of its core (at most {:.0} % is valid)",
                MAX_CORE_SHARE * 100.0
            ));
        }
        if self.is_behind {
            return Some("the load test could not send at this rate".to_owned());
        }
        (self.deliveries == 0).then(|| "no delivery was measured".to_owned())
    }
}

pub(crate) struct Meter {
    pub(crate) generator: Generator,
    pub(crate) processes: Processes,
    random: Random,
    /// Why figures must not be used, one reason per phase.
    invalid: Vec<String>,
}

impl Meter {
    pub(crate) fn new(generator: Generator, processes: Processes) -> Self {
        Self {
            generator,
            processes,
            random: Random::new(),
            invalid: Vec::new(),
        }
    }

    /// Returns why the figures of the run must not be used.
    pub(crate) fn invalid(&self) -> &[String] {
        &self.invalid
    }

    /// Runs the load for `warm_up`, measures it for `length`, and waits for outstanding
    /// deliveries. Without an open loop, each arrival causes the next message (see
    /// [`LoopMode`]).
    ///
    /// # Errors
    /// The selector failed.
    pub(crate) fn phase(
        &mut self,
        name: &str,
        warm_up: Duration,
        length: Duration,
        mut load: Option<OpenLoop>,
    ) -> io::Result<Phase> {
        let start = self.generator.now();
        if let Some(load) = &mut load {
            load.start(start);
        }
        let measured_from = start + nanos(warm_up);
        let measured_until = measured_from + nanos(length);
        let ledger = &mut self.generator.ledger;
        ledger.measure(measured_from..measured_until);
        self.run_until(&format!("{name}, warming up"), measured_from, &mut load)?;

        let before = self.generator.ledger.counts;
        let usage = self.processes.usage();
        let start = self.generator.now();
        self.run_until(name, measured_until, &mut load)?;
        let seconds = (self.generator.now() - start) as f64 / 1e9;
        let used = self.processes.usage().since(usage);
        let counts = self.generator.ledger.counts;
        let mode = match load {
            Some(_) => LoopMode::Open,
            None => LoopMode::Closed,
        };

        self.drain()?;
        let now = self.generator.now();
        let validity = Validity {
            deliveries: self.generator.ledger.latency.count(),
            generator_core_share: used.generator / seconds,
            is_behind: load.is_some_and(|load| load.due() < measured_until),
        };
        let objection = validity.objection();
        self.invalid
            .extend(objection.map(|reason| format!("{name}: {reason}")));
        let ledger = &mut self.generator.ledger;
        ledger.close_accounts(now);

        let messages = counts.acknowledged - before.acknowledged;
        let deliveries = counts.deliveries - before.deliveries;
        Ok(Phase {
            mode,
            seconds,
            sent_per_second: (counts.sent - before.sent) as f64 / seconds,
            messages_per_second: messages as f64 / seconds,
            deliveries_per_second: deliveries as f64 / seconds,
            latency_ms: ledger.latency.percentiles(),
            local_latency_ms: ledger.apart.as_ref().and_then(Apart::local),
            remote_latency_ms: ledger.apart.as_ref().and_then(Apart::remote),
            errors: ledger.counts.errors() - before.errors(),
            server_cpu_seconds_per_1000_messages: per_1000(used.server, messages),
            server_cpu_seconds_per_1000_deliveries: per_1000(used.server, deliveries),
            database_cpu_seconds_per_1000_messages: per_1000(used.database, messages),
            redis_cpu_seconds_per_1000_messages: per_1000(used.redis, messages),
            generator_cpu_seconds_per_1000_messages: per_1000(Some(used.generator), messages),
            generator_cpu_seconds_per_1000_deliveries: per_1000(Some(used.generator), deliveries),
            generator_core_share: validity.generator_core_share,
        })
    }

    /// Stops sending and reads until all expected deliveries have arrived, or none has for
    /// a while.
    fn drain(&mut self) -> io::Result<()> {
        self.generator.mode = LoopMode::Open;
        let start = self.generator.now();
        let mut last = (self.generator.ledger.counts.deliveries, start);
        loop {
            let ledger = &self.generator.ledger;
            let (deliveries, outstanding) = (ledger.counts.deliveries, ledger.outstanding());
            let now = self.generator.now();
            if deliveries != last.0 {
                last = (deliveries, now);
            }
            let is_over = now - last.1 > nanos(QUIET) || now - start > nanos(DRAIN_DEADLINE);
            if outstanding == 0 || is_over {
                return Ok(());
            }
            self.generator.run_once(now + nanos(POLL_INTERVAL))?;
        }
    }

    /// Sends nothing and reads what arrives.
    ///
    /// # Errors
    /// The selector failed.
    pub(crate) fn idle(&mut self, name: &str, length: Duration) -> io::Result<()> {
        let until = self.generator.now() + nanos(length);
        self.run_until(name, until, &mut None)
    }

    /// Runs the load until this time, and sends the messages that are due before it.
    fn run_until(
        &mut self,
        name: &str,
        until: Nanos,
        load: &mut Option<OpenLoop>,
    ) -> io::Result<()> {
        let mut printed = (self.generator.now(), self.generator.ledger.counts);
        loop {
            let now = self.generator.now();
            let is_behind = load.as_ref().is_some_and(|load| load.due() < until);
            if now >= until && !is_behind || now >= until + nanos(MAX_DELAY) {
                return Ok(());
            }
            if now - printed.0 >= nanos(PROGRESS_INTERVAL) {
                let counts = self.generator.ledger.counts;
                let left = until.saturating_sub(now);
                print_progress(name, now - printed.0, printed.1, counts, left);
                printed = (now, counts);
            }
            let mut wake = until.min(printed.0 + nanos(PROGRESS_INTERVAL));
            if let Some(load) = load {
                let mut overdue = 0;
                while load.due() <= now && load.due() < until && overdue < MAX_OVERDUE {
                    let due = load.due();
                    let sender = load.next_sender(&mut self.random);
                    self.generator.send_message(sender, due);
                    overdue += 1;
                }
                wake = wake.min(load.due());
            }
            self.generator.run_once(wake)?;
        }
    }
}

fn print_progress(name: &str, elapsed: Nanos, before: Counts, now: Counts, left: Nanos) {
    let seconds = elapsed as f64 / 1e9;
    let rate = |now: u64, before: u64| (now - before) as f64 / seconds;
    let messages = rate(now.acknowledged, before.acknowledged);
    let deliveries = rate(now.deliveries, before.deliveries);
    let left = left as f64 / 1e9;
    if deliveries > 0.0 {
        eprintln!(
            "loadtest: {name}: {messages:.0} messages/s, {deliveries:.0} deliveries/s, {left:.0} s left"
        );
    } else {
        eprintln!("loadtest: {name}: no deliveries, {left:.0} s left");
    }
}

/// Returns the CPU seconds per 1,000 messages or deliveries.
fn per_1000(seconds: Option<f64>, count: u64) -> Option<f64> {
    let seconds = seconds.filter(|_| count > 0)?;
    Some(seconds / count as f64 * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_invalid_if_the_generator_was_saturated_or_late_or_measured_nothing() {
        let valid = Validity {
            deliveries: 1,
            generator_core_share: 0.9,
            is_behind: false,
        };
        assert_eq!(valid.objection(), None);
        let saturated = Validity {
            generator_core_share: 0.91,
            ..valid
        };
        let objection = saturated.objection().unwrap();
        assert!(objection.contains("91 % of its core"), "{objection}");
        let late = Validity {
            is_behind: true,
            ..valid
        };
        assert!(late.objection().is_some());
        let silent = Validity {
            deliveries: 0,
            ..valid
        };
        assert_eq!(silent.objection().unwrap(), "no delivery was measured");
    }
}
