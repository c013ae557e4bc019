//! How fast a peer's WebSocket frames are read.
//!
//! Each frame costs work, however small it is, and not every one is an event that a limit
//! counts: control frames, parts of a message, acknowledgements of nothing. A peer that sends
//! them as fast as it can would keep others waiting.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::limits::{FRAME_INTERVAL, FRAMES_AT_ONCE};

/// Counts the frames of one peer.
pub(crate) struct Pace {
    /// The frames since the clock was last looked at.
    frames: u32,
    since: Instant,
    /// The time until more may be read.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            frames: 0,
            since: Instant::now(),
            pause: None,
        }
    }

    /// Notes that frames were read. It looks at the clock once in many frames only.
    pub(crate) fn count(&mut self, frames: u32) {
        self.frames += frames;
        if self.frames < FRAMES_AT_ONCE {
            return;
        }
        let next = self.since + FRAME_INTERVAL * self.frames;
        self.frames = 0;
        let now = Instant::now();
        self.since = now.max(next);
        self.pause(next.saturating_duration_since(now));
    }

    /// Lets nothing be read for a while.
    pub(crate) fn pause(&mut self, duration: Duration) {
        if !duration.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(duration)));
        }
    }

    /// Returns `Ready` when more may be read.
    pub(crate) fn poll_may_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}
