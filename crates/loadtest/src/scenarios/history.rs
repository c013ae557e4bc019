//! Pages of a room's history: what one costs, wherever it is.

use std::time::Duration;

use chat_domain::BoxError;

use super::{Ran, enter};
use crate::histogram::Histogram;
use crate::measure::Meter;
use crate::packets;
use crate::plan::History;
use crate::report::{Outcome, Pages};

/// Messages of a page: what the wire contract gives without a limit.
const PAGE: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
enum Direction {
    Before,
    After,
}

pub(crate) fn run(plan: History, meter: &mut Meter) -> Ran {
    let room = plan.room;
    let connecting = enter(meter, 1, 1, |_| room..room + 1)?;
    let newest = meter.generator.newest(0);
    let newest = newest.ok_or("s5 needs a server that numbers its rooms' messages")?;
    let pages = newest / PAGE;
    if pages == 0 {
        return Err(format!("room {room} has {newest} messages, and a page has {PAGE}").into());
    }
    let calls = plan.calls as u64;
    // Pages that follow each other, as people turn them, and round again in a small room.
    let mut read = |first: u64| -> Result<Pages, BoxError> {
        let mut read = |direction| -> Result<_, BoxError> {
            let mut times = Histogram::new();
            for call in 0..calls {
                let page = (first + call) % pages;
                let took = turn_to(meter, room, page, direction)?;
                times.record((took.as_micros() as u64).max(1));
            }
            Ok(times.latency())
        };
        Ok(Pages {
            before_ms: read(Direction::Before)?,
            after_ms: read(Direction::After)?,
        })
    };
    let outcome = Outcome::History {
        newest,
        end: read(pages.saturating_sub(calls))?,
        middle: read(pages / 2)?,
        beginning: read(0)?,
    };
    Ok((connecting, outcome))
}

/// Reads the messages `page * PAGE + 1` to `(page + 1) * PAGE`; how long that took.
fn turn_to(
    meter: &mut Meter,
    room: usize,
    page: u64,
    direction: Direction,
) -> Result<Duration, BoxError> {
    let bound = match direction {
        Direction::Before => format!("\"beforeSeq\":{}", (page + 1) * PAGE + 1),
        Direction::After => format!("\"afterSeq\":{}", page * PAGE),
    };
    let event = format!("[\"listMessages\",{{\"roomId\":{room},{bound}}}]");
    let (took, answer) = meter.generator.ask(0, &event, DEADLINE)?;
    if memchr::memmem::find_iter(&answer, "\"seq\":").count() as u64 != PAGE {
        let reason = packets::reason(&answer);
        return Err(format!("{event} did not give a full page: {reason}").into());
    }
    Ok(took)
}
