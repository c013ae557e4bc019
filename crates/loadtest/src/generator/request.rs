//! Sends one event at a time and waits for its acknowledgement.

use std::time::Duration;

use chat_domain::BoxError;

use super::{Generator, nanos};
use crate::client::State;

impl Generator {
    /// Sends an event, as the JSON array of its name and payload, and returns how long its
    /// acknowledgement took and the acknowledgement itself. There must be no other request
    /// at the same time.
    ///
    /// # Errors
    /// The connection was lost, or the deadline has passed.
    pub(crate) fn request(
        &mut self,
        n: usize,
        event: &str,
        deadline: Duration,
    ) -> Result<(Duration, Vec<u8>), BoxError> {
        self.acknowledgement = None;
        let sent = self.now();
        self.send_text(n, &format!("421{event}"));
        loop {
            if let Some((received, text)) = self.acknowledgement.take() {
                let took = Duration::from_nanos(received.saturating_sub(sent));
                return Ok((took, text));
            }
            if self.clients[n].state == State::Closed {
                return Err("the connection was lost".into());
            }
            if self.now() - sent > nanos(deadline) {
                let seconds = deadline.as_secs();
                return Err(format!("{event} was not acknowledged within {seconds} s").into());
            }
            self.run_once(sent + nanos(deadline))?;
        }
    }

    /// Returns the number of the newest message in the connection's first room, as of the
    /// join or the latest delivery.
    pub(crate) fn newest(&self, n: usize) -> Option<u64> {
        self.clients[n].views.first()?.newest()
    }
}
