//! A client that must not notice what another connection does.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, interval};

use super::Gateway;
use super::client::Client;

/// A member of a room, connected before the other connection misbehaves.
pub(crate) struct Bystander {
    client: Client,
    room: u64,
    seq: u64,
}

impl Bystander {
    /// Connects as a user of its own and joins the room.
    pub(crate) async fn join(gateway: &Gateway, room: u64) -> Self {
        let mut client = gateway.connect("bystander").await;
        let seq = client.join(room).await;
        client.event("joinedRoom").await;
        Self { client, room, seq }
    }

    /// Sends a message on the connection that it has had from the start, and returns it. It
    /// gets the room's next number, and is the next event that the bystander receives: the
    /// other connection has neither stored nor sent anything in the room.
    pub(crate) async fn send_undisturbed(&mut self) -> Value {
        let sent = self.client.send(self.room, "undisturbed").await;
        self.seq += 1;
        assert_eq!(sent["message"]["seq"], self.seq, "{sent}");
        let (name, message) = self.client.any_event().await;
        assert_eq!(name, "newMessage", "{message}");
        assert_eq!(message, sent["message"]);
        message
    }

    /// Sends 50 messages a second for a while, one after the other. Returns how long each takes
    /// until it is acknowledged and received.
    pub(crate) async fn undisturbed(&mut self, within: Duration) -> Vec<Duration> {
        let mut latencies = Vec::new();
        let (began, mut ticks) = (Instant::now(), interval(Duration::from_millis(20)));
        while began.elapsed() < within {
            ticks.tick().await;
            let sent = Instant::now();
            self.send_undisturbed().await;
            latencies.push(sent.elapsed());
        }
        latencies
    }
}

/// Prints latencies. Returns the 99th percentile.
pub(crate) fn print(what: &str, mut latencies: Vec<Duration>) -> Duration {
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    println!(
        "{what}: p50 {:.1?}, p99 {:.1?}, max {:.1?} of {}",
        at(50),
        at(99),
        at(100),
        latencies.len()
    );
    at(99)
}
