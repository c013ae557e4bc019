//! How connections are made, and join their rooms, before there is load.

use std::fmt::Write as _;
use std::time::Duration;

use chat_domain::BoxError;
use mio::{Interest, Token};

use super::{Generator, Nanos, nanos};
use crate::commands::loadtest::client::{Client, State};

/// How often waiting for connections looks around.
const PATIENCE: Duration = Duration::from_millis(50);

impl Generator {
    /// Makes this many connections, at most `parallel` of them at once; how long it took.
    ///
    /// # Errors
    /// The first that could not be made, or that they were not made in time.
    pub(in crate::commands::loadtest) fn connect(
        &mut self,
        count: usize,
        parallel: usize,
        deadline: Duration,
        room: impl Fn(usize) -> usize,
    ) -> Result<Duration, BoxError> {
        let start = self.now();
        while self.ready < count {
            while self.clients.len() < count && self.clients.len() - self.ready < parallel {
                self.dial(room(self.clients.len()))?;
            }
            self.turn(self.now() + nanos(PATIENCE))?;
            self.check_progress(self.ready, count, "are connected", start, deadline)?;
        }
        Ok(Duration::from_nanos(self.now() - start))
    }

    /// Lets every connection join its room.
    ///
    /// # Errors
    /// The first that could not, or that they did not in time.
    pub(in crate::commands::loadtest) fn join(
        &mut self,
        deadline: Duration,
    ) -> Result<(), BoxError> {
        let start = self.now();
        for n in 0..self.clients.len() {
            self.clients[n].state = State::Joining;
            self.packet.clear();
            let room = self.clients[n].room;
            write!(self.packet, "42[\"joinRoom\",{{\"roomId\":{room}}}]")?;
            self.send_packet(n);
            if n % 64 == 63 {
                self.turn(self.now())?;
            }
        }
        while self.joined < self.clients.len() {
            self.turn(self.now() + nanos(PATIENCE))?;
            let count = self.clients.len();
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

    fn dial(&mut self, room: usize) -> Result<(), BoxError> {
        let n = self.clients.len();
        let address = self.target.address;
        let source = self.target.source(n);
        let mut client = Client::dial(address, source, room)
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
