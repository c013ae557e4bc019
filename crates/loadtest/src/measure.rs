//! Phases of load: warming up, measuring, and waiting for what is still on its way.

use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::generator::{Generator, Nanos, Refill, nanos};
use crate::histogram::Latency;
use crate::process::Processes;

/// How many overdue messages are sent before the connections are read again.
const MAX_OVERDUE: u32 = 64;

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);

/// What one phase measured. Rates are per second; CPU times are `null` where the process
/// was not named.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Phase {
    pub(crate) seconds: f64,
    pub(crate) sent_per_second: f64,
    /// Messages that came back to their sender.
    pub(crate) messages_per_second: f64,
    pub(crate) deliveries_per_second: f64,
    pub(crate) latency_ms: Option<Latency>,
    pub(crate) errors: u64,
    pub(crate) server_cpu_seconds_per_1000_messages: Option<f64>,
    pub(crate) server_cpu_seconds_per_1000_deliveries: Option<f64>,
    pub(crate) database_cpu_seconds_per_1000_messages: Option<f64>,
    /// The load test's own.
    pub(crate) generator_cpu_seconds_per_1000_messages: Option<f64>,
    pub(crate) generator_cpu_seconds_per_1000_deliveries: Option<f64>,
}

impl Phase {
    /// Infinite where nothing arrived, so that no bound holds.
    pub(crate) fn p99(&self) -> f64 {
        self.latency_ms.map_or(f64::INFINITY, |latency| latency.p99)
    }
}

/// When messages are due that wait for no answer.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// Evenly, the senders in turn.
    Even { senders: Vec<usize> },
    /// At random times, each from a random one of the first so many connections.
    Poisson { senders: usize },
}

/// Messages that are due whatever the server does.
#[derive(Debug)]
pub(crate) struct OpenLoop {
    /// Messages a second.
    rate: f64,
    pattern: Pattern,
    due: Nanos,
    turn: usize,
}

impl OpenLoop {
    pub(crate) fn new(rate: f64, pattern: Pattern) -> Self {
        Self {
            rate,
            pattern,
            due: 0,
            turn: 0,
        }
    }

    /// The sender of the message that is due; then the next one is.
    fn take(&mut self, random: &mut Random) -> usize {
        let (sender, gap) = match &self.pattern {
            Pattern::Even { senders } => {
                self.turn = (self.turn + 1) % senders.len();
                (senders[self.turn], 1.0)
            }
            Pattern::Poisson { senders } => {
                let sender = (random.next() % *senders as u64) as usize;
                (sender, -random.fraction().ln())
            }
        };
        self.due += (gap / self.rate * 1e9) as Nanos;
        sender
    }
}

/// Numbers without a pattern, the same in every run, so that runs can be compared
/// (xorshift64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// More than 0, and 1 at most.
    fn fraction(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

pub(crate) struct Meter {
    pub(crate) generator: Generator,
    pub(crate) processes: Processes,
    random: Random,
    /// Deliveries that were waited for long enough.
    written_off: u64,
}

impl Meter {
    pub(crate) fn new(generator: Generator, processes: Processes) -> Self {
        Self {
            generator,
            processes,
            random: Random(0x2545_F491_4F6C_DD1D),
            written_off: 0,
        }
    }

    /// Warms up unmeasured, then measures. What is sent comes from `load`, if there is
    /// one, otherwise from the answers that arrive.
    ///
    /// # Errors
    /// What the machine refuses.
    pub(crate) fn phase(
        &mut self,
        name: &str,
        warm_up: Duration,
        length: Duration,
        mut load: Option<OpenLoop>,
    ) -> io::Result<Phase> {
        let begin = self.generator.now();
        if let Some(load) = &mut load {
            load.due = begin;
        }
        let measured_from = begin + nanos(warm_up);
        self.pump(&format!("{name}, warming up"), measured_from, &mut load)?;

        self.generator.ledger.latency.clear();
        let counts = self.generator.ledger.counts;
        let usage = self.processes.usage();
        let start = self.generator.now();
        self.pump(name, measured_from + nanos(length), &mut load)?;
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
            latency_ms: ledger.latency.latency(),
            errors: ledger.counts.errors - counts.errors,
            server_cpu_seconds_per_1000_messages: per_1000(used.server, messages),
            server_cpu_seconds_per_1000_deliveries: per_1000(used.server, deliveries),
            database_cpu_seconds_per_1000_messages: per_1000(used.database, messages),
            generator_cpu_seconds_per_1000_messages: per_1000(used.generator, messages),
            generator_cpu_seconds_per_1000_deliveries: per_1000(used.generator, deliveries),
        })
    }

    /// Reads until everything has arrived that is expected, or nothing has for `quiet`;
    /// what is missing then is not waited for again.
    ///
    /// # Errors
    /// What the machine refuses.
    pub(crate) fn drain(&mut self, quiet: Duration, deadline: Duration) -> io::Result<()> {
        self.generator.refill = Refill::Nothing;
        let begin = self.generator.now();
        let mut last = (self.generator.ledger.counts.deliveries, begin);
        loop {
            let counts = self.generator.ledger.counts;
            let now = self.generator.now();
            if counts.deliveries != last.0 {
                last = (counts.deliveries, now);
            }
            if counts.missing() <= self.written_off {
                return Ok(());
            }
            if now - last.1 > nanos(quiet) || now - begin > nanos(deadline) {
                self.written_off = counts.missing();
                return Ok(());
            }
            self.generator
                .turn(now + nanos(Duration::from_millis(20)))?;
        }
    }

    /// Reads what comes by itself.
    ///
    /// # Errors
    /// What the machine refuses.
    pub(crate) fn idle(&mut self, name: &str, length: Duration) -> io::Result<()> {
        let until = self.generator.now() + nanos(length);
        self.pump(name, until, &mut None)
    }

    fn pump(&mut self, name: &str, until: Nanos, load: &mut Option<OpenLoop>) -> io::Result<()> {
        let mut shown = (self.generator.now(), self.generator.ledger.counts);
        loop {
            let now = self.generator.now();
            if now >= until {
                return Ok(());
            }
            if now - shown.0 >= nanos(PROGRESS) {
                let counts = self.generator.ledger.counts;
                let seconds = (now - shown.0) as f64 / 1e9;
                let rate = |now: u64, before: u64| (now - before) as f64 / seconds;
                let messages = rate(counts.acknowledged, shown.1.acknowledged);
                let deliveries = rate(counts.deliveries, shown.1.deliveries);
                let left = (until - now) as f64 / 1e9;
                if deliveries > 0.0 {
                    eprintln!(
                        "loadtest: {name}: {messages:.0} messages/s, {deliveries:.0} \
                         deliveries/s, {left:.0} s left"
                    );
                } else {
                    eprintln!("loadtest: {name}: nothing arrives, {left:.0} s left");
                }
                shown = (now, counts);
            }
            let mut wake = until.min(shown.0 + nanos(PROGRESS));
            if let Some(load) = load {
                let mut overdue = 0;
                while load.due <= now && overdue < MAX_OVERDUE {
                    let due = load.due;
                    let sender = load.take(&mut self.random);
                    self.generator.say(sender, due);
                    overdue += 1;
                }
                wake = wake.min(load.due);
            }
            self.generator.turn(wake)?;
        }
    }
}

/// CPU seconds for a thousand of something.
fn per_1000(seconds: Option<f64>, count: u64) -> Option<f64> {
    let seconds = seconds.filter(|_| count > 0)?;
    Some(seconds / count as f64 * 1000.0)
}
