//! The events of one connection, in the order of their arrival.
//!
//! The library runs each handler in a task of its own, where one could overtake
//! another. So an event takes its place here, in the reader's own turn, before
//! anything is awaited. A task carries them out; there is one only while there is
//! something to do.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use crate::lock;

/// Events that wait to be carried out, and how many are in progress.
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    /// 0: no limit.
    max_in_progress: usize,
}

struct State<T> {
    queue: VecDeque<T>,
    /// Waiting, or begun and not done.
    in_progress: usize,
    is_served: bool,
    is_closed: bool,
    server: Option<Waker>,
}

/// An event was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Whoever serves the inbox will find it.
    Waits,
    /// Nobody serves the inbox: now the caller has to see to it.
    MustBeServed,
}

/// As many events as may be are in progress; this one is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full<T>(pub(crate) T);

/// What there is to do for who serves an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// More has come in.
    No,
    /// Nothing: whoever adds the next event sees to it.
    ForNow,
    /// Nothing, and nothing will come any more.
    ForEver,
}

impl<T> Inbox<T> {
    /// At most `max_in_progress` events wait or are carried out at a time; 0 for
    /// no limit.
    pub(crate) fn new(max_in_progress: usize) -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                in_progress: 0,
                is_served: false,
                is_closed: false,
                server: None,
            }),
            max_in_progress,
        }
    }

    /// Adds an event. After [`close`](Self::close) it goes nowhere: its client is
    /// gone.
    ///
    /// # Errors
    /// [`Full`], with the event.
    pub(crate) fn push(&self, event: T) -> Result<Pushed, Full<T>> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return Ok(Pushed::Waits);
        }
        if self.max_in_progress != 0 && state.in_progress >= self.max_in_progress {
            return Err(Full(event));
        }
        state.in_progress += 1;
        state.queue.push_back(event);
        if !std::mem::replace(&mut state.is_served, true) {
            return Ok(Pushed::MustBeServed);
        }
        if let Some(server) = state.server.take() {
            server.wake();
        }
        Ok(Pushed::Waits)
    }

    /// Nothing comes any more: what has arrived is the last. Whoever serves the inbox
    /// is told by [`rest`](Self::rest); `MustBeServed` if nobody does.
    pub(crate) fn close(&self) -> Pushed {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.is_closed, true) || state.is_served {
            return Pushed::Waits;
        }
        state.is_served = true;
        Pushed::MustBeServed
    }

    /// What has not begun never will.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.state);
        state.in_progress -= state.queue.len();
        state.queue = VecDeque::new();
    }

    /// The next event, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        lock(&self.state).queue.pop_front()
    }

    /// The next event, when there is one. Remembers one who asks.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.state);
        match state.queue.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                state.server = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// An event has been carried out and answered.
    pub(crate) fn done(&self) {
        lock(&self.state).in_progress -= 1;
    }

    /// Whoever serves the inbox found nothing to do; unless there is, it does so no
    /// longer.
    pub(crate) fn rest(&self) -> Rest {
        let mut state = lock(&self.state);
        if !state.queue.is_empty() {
            return Rest::No;
        }
        // An idle connection keeps nothing that it does not need.
        state.queue = VecDeque::new();
        state.server = None;
        match state.is_closed {
            true => Rest::ForEver,
            false => {
                state.is_served = false;
                Rest::ForNow
            }
        }
    }

    /// Whether every event that was added has been carried out.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.state).in_progress == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_limit_is_refused_until_one_is_done() {
        let inbox = Inbox::new(2);
        assert_eq!(inbox.push(1), Ok(Pushed::MustBeServed));
        assert_eq!(inbox.push(2), Ok(Pushed::Waits));
        assert_eq!(inbox.push(3), Err(Full(3)));
        assert_eq!(inbox.take(), Some(1));
        assert_eq!(inbox.push(4), Err(Full(4)), "1 is in progress");
        inbox.done();
        assert_eq!(inbox.push(5), Ok(Pushed::Waits));
        assert_eq!(inbox.close(), Pushed::Waits);
        assert_eq!(inbox.push(6), Ok(Pushed::Waits), "its client is gone");
        assert_eq!(inbox.rest(), Rest::No);
        assert_eq!(inbox.take(), Some(2));
        assert_eq!(inbox.take(), Some(5));
        assert_eq!(inbox.take(), None);
        assert!(!inbox.is_idle());
        inbox.done();
        inbox.done();
        assert!(inbox.is_idle());
        assert_eq!(inbox.rest(), Rest::ForEver);
    }

    #[test]
    fn zero_is_no_limit() {
        let inbox = Inbox::new(0);
        for n in 0..10_000 {
            assert!(inbox.push(n).is_ok());
        }
    }

    #[test]
    fn nobody_serves_an_inbox_that_was_found_empty() {
        let inbox = Inbox::new(0);
        assert_eq!(inbox.push(1), Ok(Pushed::MustBeServed));
        assert_eq!(inbox.take(), Some(1));
        inbox.done();
        assert_eq!(inbox.rest(), Rest::ForNow);
        assert_eq!(inbox.push(2), Ok(Pushed::MustBeServed));
        inbox.clear();
        assert!(inbox.is_idle());
        assert_eq!(inbox.rest(), Rest::ForNow);
        assert_eq!(inbox.close(), Pushed::MustBeServed);
        assert_eq!(inbox.close(), Pushed::Waits);
        assert_eq!(inbox.rest(), Rest::ForEver);
    }

    #[tokio::test]
    async fn who_waits_for_an_event_is_woken() {
        let inbox = Inbox::new(0);
        inbox.push(1).unwrap();
        let next = || std::future::poll_fn(|cx| inbox.poll_take(cx));
        assert_eq!(next().await, 1);
        let pushed = async { inbox.push(2) };
        let (event, pushed) = tokio::join!(biased; next(), pushed);
        assert_eq!((event, pushed), (2, Ok(Pushed::Waits)));
    }
}
