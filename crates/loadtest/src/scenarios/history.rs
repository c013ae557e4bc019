//! s5: what a page of a room's history costs, at its end, middle and beginning (a closed
//! loop: one request at a time).

use std::time::Duration;

use chat_domain::BoxError;

use super::setup::{Finished, connect_and_join};
use crate::latency::LatencyHistogram;
use crate::measure::Meter;
use crate::packets;
use crate::plan::History;
use crate::report::{Outcome, Pages};

/// The size of a page in messages: the wire contract's default limit.
const PAGE: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
enum Direction {
    Before,
    After,
}

pub(super) fn run(plan: History, meter: &mut Meter) -> Finished {
    let room = plan.room;
    let connecting = connect_and_join(meter, 1, 1, |_| room..room + 1)?;
    let newest = meter.generator.newest(0);
    let newest = newest.ok_or("s5 needs a server that numbers the messages of its rooms")?;
    let pages = newest / PAGE;
    if pages == 0 {
        return Err(format!(
            "room {room} has {newest} messages, which is less than a page of {PAGE}"
        )
        .into());
    }
    let calls = plan.calls as u64;
    // Consecutive pages, as users request them; a small room starts over.
    let mut read = |first: u64| -> Result<Pages, BoxError> {
        let mut read = |direction| -> Result<_, BoxError> {
            let mut latency = LatencyHistogram::new();
            for call in 0..calls {
                let page = (first + call) % pages;
                let took = read_page(meter, room, page, direction)?;
                latency.record((took.as_micros() as u64).max(1));
            }
            Ok(latency.percentiles())
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

/// Reads the messages `page * PAGE + 1` to `(page + 1) * PAGE` and returns how long it took.
fn read_page(
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
    let (took, acknowledgement) = meter.generator.request(0, &event, DEADLINE)?;
    let expected = page * PAGE + 1..(page + 1) * PAGE + 1;
    if !numbers(&acknowledgement).eq(expected.map(Some)) {
        let reason = packets::reason(&acknowledgement);
        return Err(format!("{event} did not return its full page in order: {reason}").into());
    }
    Ok(took)
}

/// Returns the numbers of the messages in a page, in the page's order.
fn numbers(page: &[u8]) -> impl Iterator<Item = Option<u64>> {
    const MARKER: &str = "\"seq\":";
    memchr::memmem::find_iter(page, MARKER).map(|at| packets::number(&page[at + MARKER.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_page_are_read_in_its_order() {
        let page = br#"431[{"ok":true,"messages":[{"seq":7,"x":1},{"seq":6},{"seq":null}]}]"#;
        let read: Vec<_> = numbers(page).collect();
        assert_eq!(read, [Some(7), Some(6), None]);
    }
}
