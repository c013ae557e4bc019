//! A load generator for any server that implements the wire contract. It measures
//! throughput, latency and CPU time, and checks that every message arrives exactly once, in
//! order and in its room.
//!
//! | scenario | loop | what it measures |
//! |---|---|---|
//! | s1 | closed | each sender has its own rooms and a fixed number of messages in flight |
//! | s2 | closed, then open | one room: a few senders; then increasing rates until two steps fail; then half of the best rate |
//! | s3 | – | idle connections: how fast they are established and what they cost |
//! | s4 | open | small rooms, messages at random times: the highest rate with a bounded p99 |
//! | s5 | closed | pages of a room's history, one request at a time: at its end, in its middle, at its beginning |
//! | s6 | open and closed | small rooms before, during and after a fault; members on the sender's node and on others apart |
//!
//! Latency is the time from when a message is due until its `newMessage` arrives, over all
//! deliveries of the messages that were due in the measured interval, read after the last of
//! them has arrived. In a closed loop a message is due when the previous one has arrived, so
//! a server that stalls is sent less during the stall, and its percentiles hide it
//! (coordinated omission). In an open loop the schedule does not wait: latency includes the
//! time that a message waited for its turn.
//!
//! A message counts as acknowledged when it arrives at its sender, because every server of
//! the founding contract sends it there. [`Report`] documents the names of the figures in
//! JSON.

mod arrivals;
mod client;
mod content;
mod frames;
mod generator;
mod latency;
mod ledger;
mod measure;
mod open_files;
mod open_loop;
mod packets;
mod plan;
mod process;
mod report;
mod scenarios;
mod selector;
mod target;
mod tokens;

use chat_domain::BoxError;

use self::generator::Generator;
use self::measure::Meter;

pub use self::plan::{ClosedLoop, History, Idle, OneRoom, Outage, Rooms, Scenario, flags};
pub use self::process::Processes;
pub use self::report::Report;
pub use self::target::Target;
pub use self::tokens::Tokens;

/// One run: the server, the users that connect to it, and the load.
pub struct LoadTest {
    /// The server to drive.
    pub target: Target,
    /// One token for each connection.
    pub tokens: Tokens,
    /// The load.
    pub scenario: Scenario,
    /// The processes whose CPU time and memory are measured.
    pub processes: Processes,
}

impl LoadTest {
    /// Runs the scenario on the current thread, and prints progress to standard error.
    ///
    /// # Errors
    /// Why the run could not start or finish. A server that breaks a promise is not an
    /// error here: see [`Report::verdict`].
    pub fn run(self) -> Result<Report, BoxError> {
        self.processes.check()?;
        open_files::allow(self.scenario.connections())?;
        let generator = Generator::new(self.target, self.tokens, self.scenario.rooms())?;
        scenarios::run(self.scenario, &mut Meter::new(generator, self.processes))
    }
}
