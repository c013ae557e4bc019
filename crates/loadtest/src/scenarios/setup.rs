//! How scenarios begin, and how they continue after an overload.

use std::io;
use std::ops::Range;
use std::time::Duration;

use chat_domain::BoxError;

use crate::generator::LoopMode;
use crate::measure::Meter;
use crate::report::Outcome;

/// The connections per second of the setup, and the figures of the scenario.
pub(super) type Finished = Result<(f64, Outcome), BoxError>;

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
const JOIN_DEADLINE: Duration = Duration::from_secs(10);
/// Extends the deadline for each room, because there may be very many.
const JOIN_ROOM_DEADLINE: Duration = Duration::from_millis(2);

/// A pause after an overload.
const REST: Duration = Duration::from_millis(300);

/// Establishes the connections, joins the rooms of each, and returns the connections per
/// second.
///
/// # Errors
/// A connection or a join failed or took too long.
pub(super) fn connect_and_join(
    meter: &mut Meter,
    count: usize,
    parallel: usize,
    rooms: impl Fn(usize) -> Range<usize>,
) -> Result<f64, BoxError> {
    let generator = &mut meter.generator;
    let joins: usize = (0..count).map(|n| rooms(n).len()).sum();
    let connecting = generator.connect(count, parallel, CONNECT_DEADLINE, rooms)?;
    generator.join(JOIN_DEADLINE + JOIN_ROOM_DEADLINE.mul_f64(joins as f64))?;
    generator.set_up_is_done();
    let rate = count as f64 / connecting.as_secs_f64();
    eprintln!("loadtest: {count} connections, {rate:.0} per second");
    Ok(rate)
}

/// Starts a closed loop: from now on, each arrival causes the next message.
pub(super) fn start_closed_loop(
    meter: &mut Meter,
    senders: impl Iterator<Item = usize>,
    in_flight: usize,
) {
    meter.generator.mode = LoopMode::Closed;
    for sender in senders {
        for _ in 0..in_flight {
            let now = meter.generator.now();
            meter.generator.send_message(sender, now);
        }
    }
}

/// Lets the server recover from an overload.
///
/// # Errors
/// The selector failed.
pub(super) fn recover(meter: &mut Meter, name: &str) -> io::Result<()> {
    meter.idle(name, REST)
}
