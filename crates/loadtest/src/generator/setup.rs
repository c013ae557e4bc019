//! Establishes the connections and joins their rooms, before there is load.

use std::ops::Range;
use std::time::Duration;

use chat_domain::BoxError;

use super::{Generator, Nanos, nanos};
use crate::client::{Client, State};

/// How often progress and the deadline are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl Generator {
    /// Establishes `count` connections, at most `parallel` at the same time, and returns
    /// how long it took.
    ///
    /// # Errors
    /// The first connection that failed, or the deadline that has passed.
    pub(crate) fn connect(
        &mut self,
        count: usize,
        parallel: usize,
        deadline: Duration,
        rooms: impl Fn(usize) -> Range<usize>,
    ) -> Result<Duration, BoxError> {
        let start = self.now();
        while self.ready < count {
            while self.clients.len() < count && self.clients.len() - self.ready < parallel {
                self.dial(rooms(self.clients.len()))?;
            }
            self.run_once(self.now() + nanos(POLL_INTERVAL))?;
            self.check_progress(self.ready, count, "are established", start, deadline)?;
        }
        Ok(Duration::from_nanos(self.now() - start))
    }

    /// Joins all rooms of every connection.
    ///
    /// # Errors
    /// The first join that failed, or the deadline that has passed.
    pub(crate) fn join(&mut self, deadline: Duration) -> Result<(), BoxError> {
        let start = self.now();
        let mut count = 0;
        for n in 0..self.clients.len() {
            if self.clients[n].rooms.is_empty() {
                continue;
            }
            count += 1;
            self.clients[n].state = State::Joining;
            self.join_next_room(n);
            if n % 64 == 63 {
                self.run_once(self.now())?;
            }
        }
        while self.joined < count {
            self.run_once(self.now() + nanos(POLL_INTERVAL))?;
            self.check_progress(
                self.joined,
                count,
                "have joined their rooms",
                start,
                deadline,
            )?;
        }
        Ok(())
    }

    fn dial(&mut self, rooms: Range<usize>) -> Result<(), BoxError> {
        let n = self.clients.len();
        let node = self.target.node(n);
        let (address, source) = (node.address, node.source(n));
        let mut client = Client::dial(address, source, rooms)
            .map_err(|error| format!("connection {} to {address}: {error}", n + 1))?;
        self.selector.register(&mut client.socket, n)?;
        self.clients.push(client);
        Ok(())
    }

    fn check_progress(
        &self,
        done: usize,
        total: usize,
        what: &str,
        start: Nanos,
        deadline: Duration,
    ) -> Result<(), BoxError> {
        let with_progress = |reason: &str| match done {
            0 => reason.to_owned(),
            _ => format!("{reason} ({done} of {total} connections {what})"),
        };
        if let Some(failure) = &self.failure {
            return Err(with_progress(failure).into());
        }
        if done < total && self.now() - start > nanos(deadline) {
            let seconds = deadline.as_secs();
            let reason = format!("{} did not answer within {seconds} s", self.target);
            return Err(with_progress(&reason).into());
        }
        Ok(())
    }
}
