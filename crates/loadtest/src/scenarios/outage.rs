//! s6: small rooms before, during and after a fault, each in an open loop for latency and in a
//! closed loop for throughput. Deliveries on the sender's node are measured apart from those on
//! other nodes.
//!
//! The load test does not inject the fault. It prints a line when the fault must begin and one
//! when it must end, for the program that does; both while the load runs.

use std::time::Duration;

use super::setup::{Finished, connect_and_join, start_closed_loop};
use crate::measure::{Meter, Phase};
use crate::open_loop::{OpenLoop, Pattern};
use crate::plan::{Outage, seconds};
use crate::report::{BothLoops, Outcome};

/// The most seconds of the measurement after the fault.
const AFTERWARDS: f64 = 3.0;

pub(super) fn run(plan: Outage, meter: &mut Meter) -> Finished {
    let connecting = connect_and_join(meter, plan.connections, plan.parallel, |n| {
        let room = n % plan.rooms + 1;
        room..room + 1
    })?;
    meter.generator.tell_nodes_apart();
    let target = &meter.generator.target;
    let writes = |n: &usize| {
        let writing = n % plan.rooms % target.count();
        plan.writing_nodes == 0 || target.node_number(*n) == writing
    };
    let senders = (0..plan.connections).filter(writes).collect();
    let mut measuring = Measuring {
        plan,
        senders,
        meter,
    };
    let warm_up = seconds(plan.warm_up);
    let before = BothLoops {
        open: measuring.open("before the fault", warm_up)?,
        closed: measuring.closed("before the fault")?,
    };
    eprintln!("loadtest: s6: the fault begins");
    let during = BothLoops {
        open: measuring.open("during the fault", Duration::ZERO)?,
        closed: measuring.closed("during the fault")?,
    };
    eprintln!("loadtest: s6: the fault ends");
    measuring.plan.seconds = measuring.plan.seconds.min(AFTERWARDS);
    let after = measuring.open("after the fault", Duration::ZERO)?;
    let outcome = Outcome::Outage {
        before: Box::new(before),
        during: Box::new(during),
        after: Box::new(after),
    };
    Ok((connecting, outcome))
}

struct Measuring<'a> {
    plan: Outage,
    senders: Vec<usize>,
    meter: &'a mut Meter,
}

impl Measuring<'_> {
    fn open(&mut self, when: &str, warm_up: Duration) -> std::io::Result<Phase> {
        let senders = self.senders.clone();
        let load = OpenLoop::new(self.plan.rate, Pattern::Poisson { senders });
        let length = seconds(self.plan.seconds);
        let name = format!("s6 open loop {when}");
        self.meter.phase(&name, warm_up, length, Some(load))
    }

    fn closed(&mut self, when: &str) -> std::io::Result<Phase> {
        let senders = self.senders.iter().copied();
        start_closed_loop(self.meter, senders, self.plan.in_flight);
        let (warm_up, length) = (seconds(self.plan.warm_up), seconds(self.plan.seconds));
        let name = format!("s6 closed loop {when}");
        self.meter.phase(&name, warm_up, length, None)
    }
}
