//! s4: small rooms and messages at random times, in open loops: a search for the highest
//! rate with a bounded p99.

use chat_domain::BoxError;

use super::setup::{Finished, connect_and_join, recover};
use crate::measure::{Meter, Phase};
use crate::open_loop::{OpenLoop, Pattern};
use crate::plan::{Rooms, seconds};
use crate::report::{Outcome, Step};

/// The search ends at this rate, in messages per second.
const MAX_RATE: f64 = 200_000.0;

pub(super) fn run(plan: Rooms, meter: &mut Meter) -> Finished {
    let connecting = connect_and_join(meter, plan.connections, plan.parallel, |n| {
        let room = n % plan.rooms + 1;
        room..room + 1
    })?;
    let mut search = Search { plan, meter };
    let (is_sustained, base) =
        search.measure("s4 open loop, base", plan.rate, plan.warm_up, plan.seconds)?;

    let mut good = 0.0;
    let mut at_max = None;
    let mut rate = plan.rate * 0.5;
    if is_sustained {
        good = plan.rate;
        rate = plan.rate * 1.3;
    }
    let mut too_high = MAX_RATE;
    while rate < MAX_RATE {
        match search.sustained_phase(rate)? {
            Some(phase) => {
                good = rate;
                at_max = Some(phase);
                rate *= 1.3;
            }
            None => {
                too_high = rate;
                break;
            }
        }
    }
    for _ in 0..2 {
        let between = (f64::max(good, 50.0) * too_high).sqrt();
        match search.sustained_phase(between)? {
            Some(phase) => {
                good = between;
                at_max = Some(phase);
            }
            None => too_high = between,
        }
    }
    let outcome = Outcome::Rooms {
        max_messages_per_second: good,
        at_max,
        base,
    };
    Ok((connecting, outcome))
}

/// The search for the highest rate that a server sustains.
struct Search<'a> {
    plan: Rooms,
    meter: &'a mut Meter,
}

impl Search<'_> {
    /// Returns the phase if the server sustains this rate. It has two attempts, so that one
    /// stall of the disk does not decide the figure.
    fn sustained_phase(&mut self, rate: f64) -> Result<Option<Phase>, BoxError> {
        for _ in 0..2 {
            let length = self.plan.step_seconds;
            let name = format!("s4 open loop at {rate:.0}/s");
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
        step.print(name);
        if !is_sustained {
            recover(meter, "s4")?;
        }
        Ok((is_sustained, step.phase))
    }
}
