//! How connections are made, and join their rooms, before there is load.

use std::ops::Range;
use std::time::Duration;

use chat_domain::BoxError;
use mio::{Interest, Token};

use super::{Generator, Nanos, nanos};
use crate::client::{Client, State};

/// How often waiting for connections looks around.
const PATIENCE: Duration = Duration::from_millis(50);

impl Generator {
    /// Makes this many connections, at most `parallel` of them at once; how long it took.
    ///
    /// # Errors
    /// The first that could not be made, or that they were not made in time.
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
            self.turn(self.now() + nanos(PATIENCE))?;
            self.check_progress(self.ready, count, "are connected", start, deadline)?;
        }
        Ok(Duration::from_nanos(self.now() - start))
    }

    /// Lets every connection join its rooms, one after the other.
    ///
    /// # Errors
    /// The first that could not, or that they did not in time.
    pub(crate) fn join(
        &mut self,
        deadline: Duration,
    ) -> Result<(), BoxError> {
        let start = self.now();
        let mut count = 0;
        for n in 0..self.clients.len() {
            if self.clients[n].rooms.is_empty() {
                continue;
            }
            count += 1;
            self.clients[n].state = State::Joining;
            self.join_next(n);
            if n % 64 == 63 {
                self.turn(self.now())?;
            }
        }
        while self.joined < count {
            self.turn(self.now() + nanos(PATIENCE))?;
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

    pub(crate) fn join_next(&mut self, n: usize) {
        let client = &self.clients[n];
        let room = client.rooms.start + client.views.len();
        self.send_text(n, &format!("42[\"joinRoom\",{{\"roomId\":{room}}}]"));
    }

    fn dial(&mut self, rooms: Range<usize>) -> Result<(), BoxError> {
        let n = self.clients.len();
        let address = self.target.address;
        let source = self.target.source(n);
        let mut client = Client::dial(address, source, rooms)
            .map_err(|error| format!("connection {} to {address}: {error}", n + 1))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut client.socket, Token(n), interest)?;
        self.clients.push(client);
        Ok(())
    }

    fn check_progress(
        &self,
        done: usize,
        of: usize,
        what: &str,
        start: Nanos,
        deadline: Duration,
    ) -> Result<(), BoxError> {
        let how_far = |why: &str| match done {
            0 => why.to_owned(),
            _ => format!("{why} ({done} of {of} connections {what})"),
        };
        if let Some(failure) = &self.failure {
            return Err(how_far(failure).into());
        }
        if done < of && self.now() - start > nanos(deadline) {
            let address = self.target.address;
            let why = format!("{address} does not answer within {} s", deadline.as_secs());
            return Err(how_far(&why).into());
        }
        Ok(())
    }
}
