//! Phases of load: warm-up, measurement, and waiting for outstanding deliveries.

use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::generator::{Generator, LoopMode, Nanos, nanos};
use crate::latency::Percentiles;
use crate::ledger::Counts;
use crate::open_loop::{OpenLoop, Random};
use crate::process::Processes;

/// The number of overdue messages that are sent before the connections are read again.
const MAX_OVERDUE: u32 = 64;

/// How often a drain checks whether it is complete.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How often progress is printed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The figures of one phase. CPU times are `None` for a process that was not named.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Phase {
    pub(crate) seconds: f64,
    pub(crate) sent_per_second: f64,
    /// Messages that arrived at their sender.
    pub(crate) messages_per_second: f64,
    pub(crate) deliveries_per_second: f64,
    pub(crate) latency_ms: Option<Percentiles>,
    pub(crate) errors: u64,
    pub(crate) server_cpu_seconds_per_1000_messages: Option<f64>,
    pub(crate) server_cpu_seconds_per_1000_deliveries: Option<f64>,
    pub(crate) database_cpu_seconds_per_1000_messages: Option<f64>,
    /// The load test itself.
    pub(crate) generator_cpu_seconds_per_1000_messages: Option<f64>,
    pub(crate) generator_cpu_seconds_per_1000_deliveries: Option<f64>,
}

impl Phase {
    /// Returns the 99th percentile of latency in milliseconds; infinity if nothing arrived,
    /// so that it exceeds every bound.
    pub(crate) fn p99(&self) -> f64 {
        self.latency_ms.map_or(f64::INFINITY, |latency| latency.p99)
    }
}

pub(crate) struct Meter {
    pub(crate) generator: Generator,
    pub(crate) processes: Processes,
    random: Random,
    /// Missing deliveries that are no longer waited for.
    written_off: u64,
}

impl Meter {
    pub(crate) fn new(generator: Generator, processes: Processes) -> Self {
        Self {
            generator,
            processes,
            random: Random::new(),
            written_off: 0,
        }
    }

    /// Runs the load for `warm_up` and then measures it for `length`. Without an open loop,
    /// each arrival causes the next message (see [`LoopMode`]).
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
        self.run_until(&format!("{name}, warming up"), measured_from, &mut load)?;

        self.generator.ledger.latency.clear();
        let counts = self.generator.ledger.counts;
        let usage = self.processes.usage();
        let start = self.generator.now();
        self.run_until(name, measured_from + nanos(length), &mut load)?;
        let seconds = (self.generator.now() - start) as f64 / 1e9;
        let used = self.processes.usage().since(usage);

        let ledger = &self.generator.ledger;
        let messages = ledger.counts.acknowledged - counts.acknowledged;
        let deliveries = ledger.counts.deliveries - counts.deliveries;
        Ok(Phase {
            seconds,
            sent_per_second: (ledger.counts.sent - counts.sent) as f64 / seconds,
            messages_per_second: messages as f64 / seconds,
            deliveries_per_second: deliveries as f64 / seconds,
            latency_ms: ledger.latency.percentiles(),
            errors: ledger.counts.errors - counts.errors,
            server_cpu_seconds_per_1000_messages: per_1000(used.server, messages),
            server_cpu_seconds_per_1000_deliveries: per_1000(used.server, deliveries),
            database_cpu_seconds_per_1000_messages: per_1000(used.database, messages),
            generator_cpu_seconds_per_1000_messages: per_1000(used.generator, messages),
            generator_cpu_seconds_per_1000_deliveries: per_1000(used.generator, deliveries),
        })
    }

    /// Stops sending and reads until all expected deliveries have arrived, or none has for
    /// `quiet`. Later drains do not wait again for those that are missing then.
    ///
    /// # Errors
    /// The selector failed.
    pub(crate) fn drain(&mut self, quiet: Duration, deadline: Duration) -> io::Result<()> {
        self.generator.mode = LoopMode::Open;
        let start = self.generator.now();
        let mut last = (self.generator.ledger.counts.deliveries, start);
        loop {
            let counts = self.generator.ledger.counts;
            let now = self.generator.now();
            if counts.deliveries != last.0 {
                last = (counts.deliveries, now);
            }
            if counts.missing() <= self.written_off {
                return Ok(());
            }
            if now - last.1 > nanos(quiet) || now - start > nanos(deadline) {
                self.written_off = counts.missing();
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

    fn run_until(
        &mut self,
        name: &str,
        until: Nanos,
        load: &mut Option<OpenLoop>,
    ) -> io::Result<()> {
        let mut printed = (self.generator.now(), self.generator.ledger.counts);
        loop {
            let now = self.generator.now();
            if now >= until {
                return Ok(());
            }
            if now - printed.0 >= nanos(PROGRESS_INTERVAL) {
                let counts = self.generator.ledger.counts;
                print_progress(name, now - printed.0, printed.1, counts, until - now);
                printed = (now, counts);
            }
            let mut wake = until.min(printed.0 + nanos(PROGRESS_INTERVAL));
            if let Some(load) = load {
                let mut overdue = 0;
                while load.due() <= now && overdue < MAX_OVERDUE {
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
