//! The events of one connection, in the order of their arrival.
//!
//! The library runs each handler in a task of its own, where one could overtake
//! another. So an event takes its place here, in the reader's own turn, before
//! anything is awaited, and one task carries them out one after the other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::lock;

/// The entrance, for the reader: it takes as many as may be in progress.
pub(crate) struct Inbox<T> {
    queue: Mutex<Option<mpsc::UnboundedSender<T>>>,
    in_progress: Arc<AtomicUsize>,
    /// 0: no limit.
    max_in_progress: usize,
}

/// The exit, for the task that carries them out.
pub(crate) struct Arrivals<T> {
    queue: mpsc::UnboundedReceiver<T>,
    in_progress: Arc<AtomicUsize>,
}

/// As many events as may be are in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl<T> Inbox<T> {
    /// At most `max_in_progress` events wait or are carried out at a time; 0 for
    /// no limit.
    pub(crate) fn new(max_in_progress: usize) -> (Self, Arrivals<T>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let in_progress = Arc::new(AtomicUsize::new(0));
        let inbox = Self {
            queue: Mutex::new(Some(sender)),
            in_progress: in_progress.clone(),
            max_in_progress,
        };
        let arrivals = Arrivals {
            queue: receiver,
            in_progress,
        };
        (inbox, arrivals)
    }

    /// Adds an event. After [`close`](Self::close) it goes nowhere: its client is
    /// gone.
    ///
    /// # Errors
    /// [`Full`]; the event is refused.
    pub(crate) fn push(&self, event: T) -> Result<(), Full> {
        let queue = lock(&self.queue);
        let Some(queue) = &*queue else { return Ok(()) };
        let in_progress = self.in_progress.load(Ordering::Acquire);
        if self.max_in_progress != 0 && in_progress >= self.max_in_progress {
            return Err(Full);
        }
        self.in_progress.fetch_add(1, Ordering::AcqRel);
        queue.send(event).ok();
        Ok(())
    }

    /// Nothing comes any more: what has arrived is the last.
    pub(crate) fn close(&self) {
        lock(&self.queue).take();
    }

    /// Whether every event that was added has been carried out.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_progress.load(Ordering::Acquire) == 0
    }
}

impl<T> Arrivals<T> {
    /// The next event; `None` when the inbox is closed and empty.
    pub(crate) async fn next(&mut self) -> Option<T> {
        self.queue.recv().await
    }

    /// An event has been carried out and answered.
    pub(crate) fn done(&self) {
        self.in_progress.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_beyond_the_limit_is_refused_until_one_is_done() {
        let (inbox, mut arrivals) = Inbox::new(2);
        assert_eq!(inbox.push(1), Ok(()));
        assert_eq!(inbox.push(2), Ok(()));
        assert_eq!(inbox.push(3), Err(Full));
        assert_eq!(arrivals.next().await, Some(1));
        assert_eq!(inbox.push(4), Err(Full), "1 is in progress");
        arrivals.done();
        assert_eq!(inbox.push(5), Ok(()));
        inbox.close();
        assert_eq!(inbox.push(6), Ok(()), "its client is gone");
        assert_eq!(arrivals.next().await, Some(2));
        assert_eq!(arrivals.next().await, Some(5));
        assert_eq!(arrivals.next().await, None);
        assert!(!inbox.is_idle());
        arrivals.done();
        arrivals.done();
        assert!(inbox.is_idle());
    }

    #[test]
    fn zero_is_no_limit() {
        let (inbox, _arrivals) = Inbox::new(0);
        for n in 0..10_000 {
            assert_eq!(inbox.push(n), Ok(()));
        }
    }
}
