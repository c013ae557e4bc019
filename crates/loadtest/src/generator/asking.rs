//! One question at a time: an event, and the wait for its acknowledgement.

use std::time::Duration;

use chat_domain::BoxError;

use super::{Generator, nanos};
use crate::client::State;

impl Generator {
    /// Sends an event with its payload, as JSON; how long its acknowledgement took, and
    /// what it says. Nobody else may be waiting for one.
    ///
    /// # Errors
    /// The connection was lost, or nothing was answered in time.
    pub(crate) fn ask(
        &mut self,
        n: usize,
        event: &str,
        deadline: Duration,
    ) -> Result<(Duration, Vec<u8>), BoxError> {
        self.answer = None;
        let sent = self.now();
        self.send_text(n, &format!("421{event}"));
        loop {
            if let Some((received, text)) = self.answer.take() {
                let took = Duration::from_nanos(received.saturating_sub(sent));
                return Ok((took, text));
            }
            if self.clients[n].state == State::Closed {
                return Err("the connection was lost".into());
            }
            if self.now() - sent > nanos(deadline) {
                let seconds = deadline.as_secs();
                return Err(format!("{event} was not answered within {seconds} s").into());
            }
            self.turn(sent + nanos(deadline))?;
        }
    }

    /// How far the connection's first room had come when it joined.
    pub(crate) fn newest(&self, n: usize) -> Option<u64> {
        self.clients[n].views.first()?.newest()
    }
}
