//! The events of one connection in arrival order, and the commands that the gateway gives
//! it.
//!
//! socketioxide runs each handler in a task of its own, where one could overtake another.
//! So an event takes its place here in the reader's own turn, before anything is awaited. A
//! task carries the events out; it exists only while there is something to do.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use crate::lock;

/// What arrived: events from the client, up to a limit, and commands from the gateway, which
/// are never refused.
pub(crate) struct Inbox<E, C> {
    state: Mutex<State<E, C>>,
    idle: Notify,
    /// 0: no limit.
    max_in_progress: usize,
}

struct State<E, C> {
    queue: VecDeque<Arrival<E, C>>,
    /// Events that wait, or have begun and are not about to be answered. Limited.
    in_progress: usize,
    /// Events that wait, or have begun and are not done.
    unfinished: usize,
    is_served: bool,
    intake: Intake,
    server: Option<Waker>,
}

/// What may still be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Open,
    /// Commands: the transport is about to be closed.
    Draining,
    /// Nothing: the client is gone.
    Closed,
}

/// An entry of an inbox.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<E, C> {
    /// The client asks for something.
    Event(E),
    /// The gateway asks for something.
    Command(C),
}

/// What the caller has to do after it added something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// Nothing: the task that serves the inbox will find it.
    Waits,
    /// Start a task that serves the inbox.
    MustBeServed,
}

/// An event that was refused, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused<E> {
    /// The maximum number of events is in progress.
    Full(E),
    /// The client is gone, or its transport is about to be closed.
    Closed,
}

/// Whether a task that found nothing to do goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It does: more has arrived.
    No,
    /// It ends: the next arrival starts another task.
    Yes,
}

impl<E, C> Inbox<E, C> {
    /// Creates an inbox in which at most `max_in_progress` events wait or are carried out; 0
    /// for no limit.
    pub(crate) fn new(max_in_progress: usize) -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                in_progress: 0,
                unfinished: 0,
                is_served: false,
                intake: Intake::Open,
                server: None,
            }),
            idle: Notify::new(),
            max_in_progress,
        }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn push(&self, event: E) -> Result<Pushed, Refused<E>> {
        let mut state = lock(&self.state);
        match state.intake {
            Intake::Open => {}
            Intake::Draining | Intake::Closed => return Err(Refused::Closed),
        }
        if self.max_in_progress != 0 && state.in_progress >= self.max_in_progress {
            return Err(Refused::Full(event));
        }
        state.in_progress += 1;
        state.unfinished += 1;
        Ok(state.push(Arrival::Event(event)))
    }

    /// Adds the last command and closes the inbox. Only the first call has an effect.
    pub(crate) fn close(&self, last: C) -> Pushed {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.intake, Intake::Closed) == Intake::Closed {
            return Pushed::Waits;
        }
        state.push(Arrival::Command(last))
    }

    /// Refuses further events, and completes when those before are done.
    pub(crate) async fn drain(&self) {
        {
            let mut state = lock(&self.state);
            if state.intake == Intake::Open {
                state.intake = Intake::Draining;
            }
        }
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            // From here on no change is missed.
            idle.as_mut().enable();
            if lock(&self.state).unfinished == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Drops the events that have not begun; returns them.
    pub(crate) fn clear(&self) -> Vec<E> {
        let mut state = lock(&self.state);
        let mut dropped = Vec::new();
        for arrival in std::mem::take(&mut state.queue) {
            match arrival {
                Arrival::Event(event) => dropped.push(event),
                command @ Arrival::Command(_) => state.queue.push_back(command),
            }
        }
        state.in_progress -= dropped.len();
        state.unfinished -= dropped.len();
        self.notify_if_idle(&state);
        dropped
    }

    /// Takes the next arrival, if there is one.
    pub(crate) fn take(&self) -> Option<Arrival<E, C>> {
        lock(&self.state).queue.pop_front()
    }

    /// Takes the next arrival when there is one. Remembers one caller.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Arrival<E, C>> {
        let mut state = lock(&self.state);
        match state.queue.pop_front() {
            Some(arrival) => Poll::Ready(arrival),
            None => {
                state.server = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Notes that an event, which has begun, is about to be answered. From then on it does
    /// not count as in progress: the client may send another as soon as it has the answer.
    pub(crate) fn answering(&self) {
        lock(&self.state).in_progress -= 1;
    }

    /// Notes that an event has been carried out and answered.
    pub(crate) fn done(&self) {
        let mut state = lock(&self.state);
        state.unfinished -= 1;
        self.notify_if_idle(&state);
    }

    /// Ends the serving task's duty if nothing is left to do.
    pub(crate) fn rest(&self) -> Rest {
        let mut state = lock(&self.state);
        if !state.queue.is_empty() {
            return Rest::No;
        }
        // An idle connection keeps nothing that it does not need.
        state.queue = VecDeque::new();
        state.server = None;
        state.is_served = false;
        Rest::Yes
    }

    fn notify_if_idle(&self, state: &State<E, C>) {
        if state.unfinished == 0 {
            self.idle.notify_waiters();
        }
    }
}

impl<E, C> State<E, C> {
    fn push(&mut self, arrival: Arrival<E, C>) -> Pushed {
        self.queue.push_back(arrival);
        if !std::mem::replace(&mut self.is_served, true) {
            return Pushed::MustBeServed;
        }
        if let Some(server) = self.server.take() {
            server.wake();
        }
        Pushed::Waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Inbox<u32, &'static str>;

    #[test]
    fn events_beyond_the_limit_are_refused_until_one_is_about_to_be_answered() {
        let inbox = Numbers::new(2);
        assert_eq!(inbox.push(1), Ok(Pushed::MustBeServed));
        assert_eq!(inbox.push(2), Ok(Pushed::Waits));
        assert_eq!(inbox.push(3), Err(Refused::Full(3)));
        assert_eq!(inbox.take(), Some(Arrival::Event(1)));
        assert_eq!(inbox.push(4), Err(Refused::Full(4)), "1 is in progress");
        inbox.answering();
        assert_eq!(inbox.push(5), Ok(Pushed::Waits));
    }

    #[test]
    fn an_inbox_with_limit_zero_refuses_nothing() {
        let inbox = Numbers::new(0);
        for n in 0..10_000 {
            assert!(inbox.push(n).is_ok());
        }
    }

    #[test]
    fn a_command_is_never_refused_and_the_last_one_closes_the_inbox() {
        let inbox = Numbers::new(1);
        assert_eq!(inbox.push(1), Ok(Pushed::MustBeServed));
        assert_eq!(inbox.close("leave"), Pushed::Waits);
        assert_eq!(inbox.close("again"), Pushed::Waits);
        assert_eq!(inbox.push(2), Err(Refused::Closed));
        assert_eq!(inbox.clear(), [1]);
        assert_eq!(inbox.take(), Some(Arrival::Command("leave")));
        assert_eq!(inbox.take(), None);
    }

    #[test]
    fn after_its_task_has_ended_an_inbox_needs_another_one() {
        let inbox = Numbers::new(0);
        assert_eq!(inbox.push(1), Ok(Pushed::MustBeServed));
        assert_eq!(inbox.rest(), Rest::No);
        assert_eq!(inbox.take(), Some(Arrival::Event(1)));
        inbox.answering();
        inbox.done();
        assert_eq!(inbox.rest(), Rest::Yes);
        assert_eq!(inbox.close("leave"), Pushed::MustBeServed);
    }

    #[tokio::test]
    async fn a_task_that_waits_for_an_event_is_woken() {
        let inbox = Numbers::new(0);
        let _ = inbox.push(1).unwrap();
        let next = || std::future::poll_fn(|cx| inbox.poll_take(cx));
        assert_eq!(next().await, Arrival::Event(1));
        let pushed = async { inbox.push(2) };
        let (event, pushed) = tokio::join!(biased; next(), pushed);
        assert_eq!((event, pushed), (Arrival::Event(2), Ok(Pushed::Waits)));
    }

    #[tokio::test]
    async fn draining_refuses_events_and_waits_for_those_in_progress() {
        let inbox = Numbers::new(0);
        let _ = inbox.push(1).unwrap();
        inbox.take();
        let done = async {
            assert_eq!(inbox.push(2), Err(Refused::Closed));
            inbox.answering();
            tokio::task::yield_now().await;
            inbox.done();
        };
        let drained = async {
            inbox.drain().await;
            assert_eq!(lock(&inbox.state).unfinished, 0);
        };
        tokio::join!(biased; drained, done);
    }
}
