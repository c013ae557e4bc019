//! s1: senders with their own rooms and a fixed number of messages in flight (a closed
//! loop); then, if requested, a fixed rate (an open loop).

use super::setup::{Finished, connect_and_join, start_closed_loop};
use crate::measure::Meter;
use crate::open_loop::{OpenLoop, Pattern};
use crate::plan::{ClosedLoop, seconds};
use crate::report::Outcome;

pub(super) fn run(plan: ClosedLoop, meter: &mut Meter) -> Finished {
    let count = plan.connections + plan.idle_connections;
    let connecting = connect_and_join(meter, count, plan.parallel, |n| {
        match n < plan.connections {
            true => (n * plan.rooms_each + 1)..((n + 1) * plan.rooms_each + 1),
            false => 0..0,
        }
    })?;
    start_closed_loop(meter, 0..plan.connections, plan.in_flight);
    let (warm_up, length) = (seconds(plan.warm_up), seconds(plan.seconds));
    let phase = meter.phase("s1 closed loop", warm_up, length, None)?;
    let steady = if plan.steady_rate > 0.0 {
        let senders = (0..plan.connections).collect();
        let load = OpenLoop::new(plan.steady_rate, Pattern::Even { senders });
        let name = "s1 open loop at a steady rate";
        Some(meter.phase(name, length.mul_f64(0.2), length, Some(load))?)
    } else {
        None
    };
    Ok((connecting, Outcome::ClosedLoop { phase, steady }))
}
