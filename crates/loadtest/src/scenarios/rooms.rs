//! s4: small rooms and messages at random times, in open loops: a fixed rate, then a search
//! for the highest rate with a bounded p99.

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
    let base_rate = if is_sustained { plan.rate } else { 0.0 };
    let (max_messages_per_second, at_max) = match plan.step_seconds > 0.0 {
        true => search.highest_rate(base_rate)?,
        false => (base_rate, None),
    };
    let outcome = Outcome::Rooms {
        max_messages_per_second,
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
    /// Returns the highest rate that the server sustains, and the phase at this rate unless
    /// it is the base phase. `base_rate` is 0 if that one was not sustained.
    fn highest_rate(&mut self, base_rate: f64) -> Result<(f64, Option<Phase>), BoxError> {
        let mut good = base_rate;
        let mut at_max = None;
        let mut rate = match good > 0.0 {
            true => good * 1.3,
            false => self.plan.rate * 0.5,
        };
        let mut too_high = MAX_RATE;
        while rate < MAX_RATE {
            match self.sustained_phase(rate)? {
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
            match self.sustained_phase(between)? {
                Some(phase) => {
                    good = between;
                    at_max = Some(phase);
                }
                None => too_high = between,
            }
        }
        Ok((good, at_max))
    }

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
        let senders = (0..self.plan.connections).collect();
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
