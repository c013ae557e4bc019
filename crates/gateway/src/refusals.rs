//! What was refused because of a limit: counted for `/metrics`, and logged at a bounded rate.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::limits::REFUSAL_LOG_INTERVAL;
use crate::lock;

/// A limit that refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `MESSAGE_RATE`.
    MessageRate,
    /// `CONNECT_RATE`.
    ConnectRate,
    /// The handshakes that wait for their turn.
    WaitingHandshakes,
    /// `MAX_IN_FLIGHT`.
    InFlight,
    /// `MAX_ROOMS`.
    Rooms,
    /// `MAX_CONNECTIONS_PER_USER`.
    ConnectionsPerUser,
    /// `MAX_CONNECTIONS`.
    Connections,
    /// The share of `MAX_CONNECTIONS` that long-polling sessions may take.
    PollingSessions,
    /// The share of `MAX_CONNECTIONS` that sessions without CONNECT may take.
    UnconnectedSessions,
    /// The TCP connections that carry no WebSocket, in proportion to `MAX_CONNECTIONS`.
    HttpConnections,
    /// `MAX_PACKET_BYTES`.
    PacketBytes,
    /// The requests of the server API without a valid key.
    RefusedKeys,
    /// The TCP connections of `API_PORT`.
    ApiConnections,
}

impl Limit {
    /// All limits, in the order of their declaration.
    pub(crate) const ALL: [Self; 13] = [
        Self::MessageRate,
        Self::ConnectRate,
        Self::WaitingHandshakes,
        Self::InFlight,
        Self::Rooms,
        Self::ConnectionsPerUser,
        Self::Connections,
        Self::PollingSessions,
        Self::UnconnectedSessions,
        Self::HttpConnections,
        Self::PacketBytes,
        Self::RefusedKeys,
        Self::ApiConnections,
    ];

    /// Returns the limit's name in metrics and log lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MessageRate => "message_rate",
            Self::ConnectRate => "connect_rate",
            Self::WaitingHandshakes => "waiting_handshakes",
            Self::InFlight => "max_in_flight",
            Self::Rooms => "max_rooms",
            Self::ConnectionsPerUser => "max_connections_per_user",
            Self::Connections => "max_connections",
            Self::PollingSessions => "polling_sessions",
            Self::UnconnectedSessions => "unconnected_sessions",
            Self::HttpConnections => "http_connections",
            Self::PacketBytes => "max_packet_bytes",
            Self::RefusedKeys => "refused_keys",
            Self::ApiConnections => "api_connections",
        }
    }
}

/// How often each limit has refused something.
#[derive(Default)]
pub(crate) struct Refusals([Refused; Limit::ALL.len()]);

#[derive(Default)]
struct Refused {
    count: AtomicU64,
    logged: Mutex<Logged>,
}

/// The last log line about a limit.
#[derive(Default)]
struct Logged {
    at: Option<Instant>,
    count: u64,
}

impl Refusals {
    /// Counts a refusal. An attacker causes many, so only one in a while is logged.
    pub(crate) fn count(&self, limit: Limit, client: IpAddr) {
        let refused = &self.0[limit as usize];
        let count = refused.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut logged = lock(&refused.logged);
        let is_due = |at: Instant| at.elapsed() >= REFUSAL_LOG_INTERVAL;
        if logged.at.is_none_or(is_due) && count > logged.count {
            let refused = count - logged.count;
            *logged = Logged {
                at: Some(Instant::now()),
                count,
            };
            drop(logged);
            tracing::warn!(limit = limit.name(), refused, %client, "a limit was exceeded");
        }
    }

    /// Returns every limit's name and how often it has refused something.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self
            .0
            .iter()
            .map(|refused| refused.count.load(Ordering::Relaxed));
        Limit::ALL.iter().map(|limit| limit.name()).zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_limit_is_counted_under_its_own_name() {
        let refusals = Refusals::default();
        for (n, limit) in Limit::ALL.into_iter().enumerate() {
            for _ in 0..=n {
                refusals.count(limit, Ipv4Addr::LOCALHOST.into());
            }
        }
        let expected = Limit::ALL.iter().zip(1..);
        let expected: Vec<_> = expected.map(|(limit, n)| (limit.name(), n)).collect();
        assert_eq!(refusals.counts().collect::<Vec<_>>(), expected);
    }
}
