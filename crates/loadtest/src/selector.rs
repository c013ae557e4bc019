//! Waits for events of many sockets, with timeouts that are exact to less than a
//! millisecond.

use std::io;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) struct Selector(Poll);

impl Selector {
    pub(crate) fn new() -> io::Result<Self> {
        Poll::new().map(Self)
    }

    /// Reports the events of a socket as those of connection `n`.
    pub(crate) fn register(&self, socket: &mut TcpStream, n: usize) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.0.registry().register(socket, Token(n), interest)
    }

    pub(crate) fn deregister(&self, socket: &mut TcpStream) -> io::Result<()> {
        self.0.registry().deregister(socket)
    }

    /// Waits for an event, at most for the timeout. mio alone rounds a timeout up to whole
    /// milliseconds, which would delay messages that are due earlier.
    pub(crate) fn wait(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        let whole = Duration::from_millis(timeout.as_millis() as u64);
        let outcome = self.0.poll(events, Some(whole));
        let outcome = if timeout < MILLISECOND && !timeout.is_zero() && events.is_empty() {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: timeout.subsec_nanos().into(),
            };
            let mut selector = [PollFd::new(self.0.registry(), PollFlags::IN)];
            poll(&mut selector, Some(&timeout))
                .map_err(io::Error::from)
                .and_then(|_| self.0.poll(events, Some(Duration::ZERO)))
        } else {
            outcome
        };
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_timeout_of_less_than_a_millisecond_is_not_cut_to_zero() {
        let timeout = Duration::from_micros(400);
        let mut selector = Selector::new().unwrap();
        let start = Instant::now();
        selector
            .wait(&mut Events::with_capacity(1), timeout)
            .unwrap();
        assert!(start.elapsed() >= timeout);
    }
}
