//! s2: one room, in a closed loop, then in open loops: at increasing rates, then at half of
//! the best.

use super::setup::{Finished, connect_and_join, recover, start_closed_loop};
use crate::measure::Meter;
use crate::open_loop::{OpenLoop, Pattern};
use crate::plan::{OneRoom, seconds};
use crate::report::{Outcome, Step};

/// The rates of the ramp, as factors of the closed loop's rate.
const RAMP: [f64; 13] = [
    0.75, 0.9, 1.05, 1.25, 1.5, 1.8, 2.15, 2.6, 3.1, 3.7, 4.5, 5.5, 7.0,
];
/// The bound of the figure with bounded latency, in milliseconds.
const P99_BOUND: f64 = 250.0;
/// A step with a higher latency is not sustained; in milliseconds.
const P99_LIMIT: f64 = 1000.0;

pub(super) fn run(plan: OneRoom, meter: &mut Meter) -> Finished {
    let connecting = connect_and_join(meter, plan.connections, plan.parallel, |_| 1..2)?;
    let distance = plan.connections / plan.senders;
    let senders: Vec<usize> = (0..plan.senders).map(|n| n * distance).collect();
    let members = plan.connections as f64;
    let even = |rate| {
        let senders = senders.clone();
        OpenLoop::new(rate, Pattern::Even { senders })
    };

    start_closed_loop(meter, senders.iter().copied(), plan.in_flight);
    let length = seconds(plan.seconds);
    let closed = meter.phase("s2 closed loop", seconds(plan.warm_up), length, None)?;
    let capacity = closed.deliveries_per_second / members;
    if capacity == 0.0 {
        return Err("the server delivered nothing in the closed loop".into());
    }

    let mut best = closed.clone();
    let mut within_bound = Some(closed.clone()).filter(|phase| phase.p99() <= P99_BOUND);
    let mut ramp = Vec::new();
    let mut failed = 0;
    let factors = RAMP.into_iter().filter(|_| plan.step_seconds > 0.0);
    for factor in factors {
        let rate = capacity * factor;
        let name = format!("s2 open loop, ramp x{factor}");
        let step_length = seconds(plan.step_seconds);
        let warm_up = step_length.mul_f64(0.35);
        let phase = meter.phase(&name, warm_up, step_length, Some(even(rate)))?;
        let is_sustained = phase.p99() < P99_LIMIT
            && phase.deliveries_per_second >= 0.97 * rate * members
            && phase.errors == 0;
        let step = Step::new(rate, is_sustained, phase);
        step.print(&name);
        if step.phase.deliveries_per_second > best.deliveries_per_second {
            best = step.phase.clone();
        }
        if is_sustained {
            failed = 0;
            let rate = within_bound
                .as_ref()
                .map_or(0.0, |best| best.deliveries_per_second);
            if step.phase.p99() <= P99_BOUND && step.phase.deliveries_per_second > rate {
                within_bound = Some(step.phase.clone());
            }
        } else {
            failed += 1;
            recover(meter, "s2")?;
        }
        ramp.push(step);
        if failed == 2 {
            break;
        }
    }

    let rate = best.deliveries_per_second / members / 2.0;
    let warm_up = length.mul_f64(0.2);
    let half = meter.phase("s2 open loop, half load", warm_up, length, Some(even(rate)))?;
    let outcome = Outcome::OneRoom {
        saturation_deliveries_per_second: best.deliveries_per_second,
        saturation_loop: best.mode,
        saturation_server_cpu_seconds_per_1000_deliveries: best
            .server_cpu_seconds_per_1000_deliveries,
        deliveries_per_second_p99_250: within_bound
            .as_ref()
            .map_or(0.0, |best| best.deliveries_per_second),
        p99_250_loop: within_bound.map(|best| best.mode),
        closed,
        half,
        ramp,
    };
    Ok((connecting, outcome))
}
