//! s3: connections that do nothing.

use std::time::Duration;

use super::setup::Finished;
use crate::measure::Meter;
use crate::plan::{Idle, seconds};
use crate::report::Outcome;

/// Longer than for other scenarios, because there may be very many connections.
const CONNECT_DEADLINE: Duration = Duration::from_secs(120);

pub(super) fn run(plan: Idle, meter: &mut Meter) -> Finished {
    let memory = meter.processes.server_kib();
    let before = meter.processes.usage();
    let generator = &mut meter.generator;
    let connecting =
        generator.connect(plan.connections, plan.parallel, CONNECT_DEADLINE, |_| 0..0)?;
    generator.set_up_is_done();
    let connected = meter.processes.usage();
    let count = plan.connections as f64;
    let rate = count / connecting.as_secs_f64();
    eprintln!("loadtest: s3: {count} connections, {rate:.0} per second");
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
