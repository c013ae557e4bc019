//! The scenarios: what is done, in which order, and which figures come out.

mod history;

use std::ops::Range;
use std::time::Duration;

use chat_domain::BoxError;

use crate::generator::Refill;
use crate::measure::{Meter, OpenLoop, Pattern, Phase};
use crate::plan::{ClosedLoop, Idle, OneRoom, Rooms, Scenario, seconds};
use crate::report::{Outcome, Report, Step};

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// Of the scenario that makes very many connections.
const CONNECT_MANY_DEADLINE: Duration = Duration::from_secs(120);
const JOIN_DEADLINE: Duration = Duration::from_secs(10);
/// And this for each room, of which there may be very many.
const JOIN_ROOM_DEADLINE: Duration = Duration::from_millis(2);

/// After this long without a delivery, what is missing will not come.
const QUIET: Duration = Duration::from_secs(3);
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// A pause after too much load.
const REST: Duration = Duration::from_millis(300);

/// The steps of the search for a room's limit, as factors of its closed loop.
const RAMP: [f64; 13] = [
    0.75, 0.9, 1.05, 1.25, 1.5, 1.8, 2.15, 2.6, 3.1, 3.7, 4.5, 5.5, 7.0,
];
/// Of these figures, the one with bounded latency: milliseconds.
const ROOM_P99_BOUND: f64 = 250.0;
/// A step whose latency is beyond this is not kept up with: milliseconds.
const ROOM_P99_LIMIT: f64 = 1000.0;

/// No server is asked for more messages a second than this.
const MAX_RATE: f64 = 200_000.0;

/// Runs a scenario.
///
/// # Errors
/// Whatever keeps it from being run.
pub(crate) fn run(scenario: Scenario, meter: &mut Meter) -> Result<Report, BoxError> {
    let (connecting, outcome) = match scenario {
        Scenario::S1(plan) => closed_loop(plan, meter)?,
        Scenario::S2(plan) => one_room(plan, meter)?,
        Scenario::S3(plan) => idle(plan, meter)?,
        Scenario::S4(plan) => rooms(plan, meter)?,
        Scenario::S5(plan) => history::run(plan, meter)?,
    };
    let counts = meter.generator.ledger.counts;
    Ok(Report::new(scenario, connecting, counts, outcome))
}

type Ran = Result<(f64, Outcome), BoxError>;

fn closed_loop(plan: ClosedLoop, meter: &mut Meter) -> Ran {
    let count = plan.connections + plan.idle_connections;
    let connecting = enter(meter, count, plan.parallel, |n| {
        match n < plan.connections {
            true => (n * plan.rooms_each + 1)..((n + 1) * plan.rooms_each + 1),
            false => 0..0,
        }
    })?;
    fill(meter, 0..plan.connections, plan.in_flight);
    let phase = meter.phase("s1", seconds(plan.warm_up), seconds(plan.seconds), None)?;
    meter.drain(QUIET, DRAIN_DEADLINE)?;
    let steady = if plan.steady_rate > 0.0 {
        let senders = (0..plan.connections).collect();
        let load = OpenLoop::new(plan.steady_rate, Pattern::Even { senders });
        let length = seconds(plan.seconds);
        let phase = meter.phase(
            "s1 at a steady rate",
            length.mul_f64(0.2),
            length,
            Some(load),
        )?;
        meter.drain(QUIET, DRAIN_DEADLINE)?;
        Some(phase)
    } else {
        None
    };
    Ok((connecting, Outcome::ClosedLoop { phase, steady }))
}

fn one_room(plan: OneRoom, meter: &mut Meter) -> Ran {
    let connecting = enter(meter, plan.connections, plan.parallel, |_| 1..2)?;
    let apart = plan.connections / plan.senders;
    let senders: Vec<usize> = (0..plan.senders).map(|n| n * apart).collect();
    let members = plan.connections as f64;
    let even = |rate| {
        let senders = senders.clone();
        OpenLoop::new(rate, Pattern::Even { senders })
    };

    fill(meter, senders.iter().copied(), plan.in_flight);
    let length = seconds(plan.seconds);
    let closed = meter.phase("s2 closed loop", seconds(plan.warm_up), length, None)?;
    meter.drain(QUIET, DRAIN_DEADLINE)?;
    let capacity = closed.deliveries_per_second / members;
    if capacity == 0.0 {
        return Err("the server delivered nothing in the closed loop".into());
    }

    let mut best = closed.clone();
    let mut within_bound = match closed.p99() <= ROOM_P99_BOUND {
        true => closed.deliveries_per_second,
        false => 0.0,
    };
    let mut ramp = Vec::new();
    let mut failed = 0;
    for factor in RAMP {
        let rate = capacity * factor;
        let name = format!("s2 ramp x{factor}");
        let step_length = seconds(plan.step_seconds);
        let phase = meter.phase(
            &name,
            step_length.mul_f64(0.35),
            step_length,
            Some(even(rate)),
        )?;
        let is_sustained =
            phase.p99() < ROOM_P99_LIMIT && phase.deliveries_per_second >= 0.97 * rate * members;
        let step = Step::new(rate, is_sustained, phase);
        step.show(&name);
        if step.phase.deliveries_per_second > best.deliveries_per_second {
            best = step.phase.clone();
        }
        if is_sustained {
            failed = 0;
            if step.phase.p99() <= ROOM_P99_BOUND {
                within_bound = within_bound.max(step.phase.deliveries_per_second);
            }
        } else {
            failed += 1;
            meter.drain(QUIET, DRAIN_DEADLINE)?;
            meter.idle("s2", REST)?;
        }
        ramp.push(step);
        if failed == 2 {
            break;
        }
    }
    meter.drain(QUIET, DRAIN_DEADLINE)?;

    let rate = best.deliveries_per_second / members / 2.0;
    let half = meter.phase(
        "s2 half load",
        length.mul_f64(0.2),
        length,
        Some(even(rate)),
    )?;
    meter.drain(QUIET, DRAIN_DEADLINE)?;
    let outcome = Outcome::OneRoom {
        saturation_deliveries_per_second: best.deliveries_per_second,
        saturation_server_cpu_seconds_per_1000_deliveries: best
            .server_cpu_seconds_per_1000_deliveries,
        deliveries_per_second_p99_250: within_bound,
        closed,
        half,
        ramp,
    };
    Ok((connecting, outcome))
}

fn idle(plan: Idle, meter: &mut Meter) -> Ran {
    let memory = meter.processes.server_kib();
    let before = meter.processes.usage();
    let connecting = meter.generator.connect(
        plan.connections,
        plan.parallel,
        CONNECT_MANY_DEADLINE,
        |_| 0..0,
    )?;
    meter.generator.set_up_is_done();
    let connected = meter.processes.usage();
    let count = plan.connections as f64;
    let rate = count / connecting.as_secs_f64();
    eprintln!("loadtest: s3: {count} connections, {rate:.0} a second");
    meter.idle("s3 idle", seconds(plan.idle_seconds))?;
    let per_connection = |kib: u64| Some((kib as f64 - memory? as f64) / count);
    let while_connecting = connected.since(before).server;
    let outcome = Outcome::Idle {
        server_kib_per_connection: meter.processes.server_kib().and_then(per_connection),
        server_cpu_seconds_per_1000_connections: while_connecting
            .map(|seconds| seconds / count * 1000.0),
        idle_cpu_seconds: meter.processes.usage().since(connected).server,
    };
    Ok((rate, outcome))
}

fn rooms(plan: Rooms, meter: &mut Meter) -> Ran {
    let connecting = enter(meter, plan.connections, plan.parallel, |n| {
        let room = n % plan.rooms + 1;
        room..room + 1
    })?;
    let mut search = Search { plan, meter };
    let (is_sustained, base) = search.measure("s4 base", plan.rate, plan.warm_up, plan.seconds)?;

    let mut good = 0.0;
    let mut at_max = None;
    let mut rate = plan.rate * 0.5;
    if is_sustained {
        good = plan.rate;
        rate = plan.rate * 1.3;
    }
    let mut too_much = MAX_RATE;
    while rate < MAX_RATE {
        match search.keeps_up_with(rate)? {
            Some(phase) => {
                good = rate;
                at_max = Some(phase);
                rate *= 1.3;
            }
            None => {
                too_much = rate;
                break;
            }
        }
    }
    for _ in 0..2 {
        let between = (f64::max(good, 50.0) * too_much).sqrt();
        match search.keeps_up_with(between)? {
            Some(phase) => {
                good = between;
                at_max = Some(phase);
            }
            None => too_much = between,
        }
    }
    meter.drain(QUIET, DRAIN_DEADLINE)?;
    let outcome = Outcome::Rooms {
        max_messages_per_second: good,
        at_max,
        base,
    };
    Ok((connecting, outcome))
}

/// The search for the highest rate that a server keeps up with.
struct Search<'a> {
    plan: Rooms,
    meter: &'a mut Meter,
}

impl Search<'_> {
    /// Tried twice: one stall of the disk must not decide the figure.
    fn keeps_up_with(&mut self, rate: f64) -> Result<Option<Phase>, BoxError> {
        for _ in 0..2 {
            let length = self.plan.step_seconds;
            let name = format!("s4 at {rate:.0}/s");
            let (is_sustained, phase) = self.measure(&name, rate, length / 3.0, length)?;
            if is_sustained {
                return Ok(Some(phase));
            }
        }
        Ok(None)
    }

    fn measure(
        &mut self,
        name: &str,
        rate: f64,
        warm_up: f64,
        length: f64,
    ) -> Result<(bool, Phase), BoxError> {
        let senders = self.plan.connections;
        let load = OpenLoop::new(rate, Pattern::Poisson { senders });
        let meter = &mut *self.meter;
        let phase = meter.phase(name, seconds(warm_up), seconds(length), Some(load))?;
        let members = (self.plan.connections / self.plan.rooms) as f64;
        let is_sustained = phase.p99() <= self.plan.p99_bound
            && phase.deliveries_per_second >= 0.95 * rate * members
            && phase.errors == 0;
        let step = Step::new(rate, is_sustained, phase);
        step.show(name);
        if !is_sustained {
            meter.drain(QUIET, DRAIN_DEADLINE)?;
            meter.idle("s4", REST)?;
        }
        Ok((is_sustained, step.phase))
    }
}

/// Connects everybody and lets them join their rooms; connections a second.
fn enter(
    meter: &mut Meter,
    count: usize,
    parallel: usize,
    rooms: impl Fn(usize) -> Range<usize>,
) -> Result<f64, BoxError> {
    let generator = &mut meter.generator;
    let joins: usize = (0..count).map(|n| rooms(n).len()).sum();
    let connecting = generator.connect(count, parallel, CONNECT_DEADLINE, rooms)?;
    let more = JOIN_ROOM_DEADLINE.mul_f64(joins as f64);
    generator.join(JOIN_DEADLINE + more)?;
    generator.set_up_is_done();
    let rate = count as f64 / connecting.as_secs_f64();
    eprintln!("loadtest: {count} connections, {rate:.0} a second");
    Ok(rate)
}

/// Starts a closed loop: what arrives makes the next one go.
fn fill(meter: &mut Meter, senders: impl Iterator<Item = usize>, in_flight: usize) {
    meter.generator.refill = Refill::Next;
    for sender in senders {
        for _ in 0..in_flight {
            let now = meter.generator.now();
            meter.generator.say(sender, now);
        }
    }
}
