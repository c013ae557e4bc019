//! How many sessions a node has, and which kinds of them: `MAX_CONNECTIONS`.
//!
//! Sessions that cost an attacker little may take only a part of the places: those of
//! long-polling, which need no open connection, and those that have not completed CONNECT.

use std::sync::{Arc, Mutex};

use crate::limits::{MIN_HTTP_CONNECTIONS, SHARE_OF_CHEAP_SESSIONS};
use crate::lock;
use crate::refusals::Limit;

/// The places of this node.
pub(crate) struct Admission {
    /// 0: no limit.
    max_connections: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Taken {
    sessions: usize,
    polling: usize,
    unconnected: usize,
}

/// What carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Polling,
    WebSocket,
}

impl Admission {
    /// Creates the places of a node; 0 for no limit.
    pub(crate) fn new(max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            max_connections,
            taken: Mutex::default(),
        })
    }

    /// Returns how many TCP connections without a WebSocket may be open: two for each
    /// long-polling session, and one for each peer that is about to begin a session.
    pub(crate) fn max_http_connections(&self) -> usize {
        match self.max_connections {
            0 => usize::MAX,
            max => (3 * share_of(max)).max(MIN_HTTP_CONNECTIONS),
        }
    }

    /// Returns the number of sessions.
    pub(crate) fn sessions(&self) -> usize {
        lock(&self.taken).sessions
    }

    /// Takes a place for a session that begins.
    ///
    /// # Errors
    /// The limit that has been reached.
    pub(crate) fn take(self: &Arc<Self>, carrier: Carrier) -> Result<Place, Limit> {
        let mut taken = lock(&self.taken);
        let share = match self.max_connections {
            0 => usize::MAX,
            max if taken.sessions >= max => return Err(Limit::Connections),
            max => share_of(max),
        };
        if taken.unconnected >= share {
            return Err(Limit::UnconnectedSessions);
        }
        if carrier == Carrier::Polling && taken.polling >= share {
            return Err(Limit::PollingSessions);
        }
        taken.sessions += 1;
        taken.unconnected += 1;
        taken.polling += usize::from(carrier == Carrier::Polling);
        Ok(Place {
            admission: self.clone(),
            kind: Mutex::new(Kind {
                carrier,
                is_connected: false,
            }),
        })
    }
}

fn share_of(max_connections: usize) -> usize {
    (max_connections / SHARE_OF_CHEAP_SESSIONS).max(1)
}

/// The place of one session, until it is dropped.
pub(crate) struct Place {
    admission: Arc<Admission>,
    kind: Mutex<Kind>,
}

struct Kind {
    carrier: Carrier,
    is_connected: bool,
}

impl Place {
    /// Notes that the session has completed CONNECT.
    pub(crate) fn connected(&self) {
        let mut kind = lock(&self.kind);
        if !std::mem::replace(&mut kind.is_connected, true) {
            lock(&self.admission.taken).unconnected -= 1;
        }
    }

    /// Notes what carries the session from now on.
    pub(crate) fn carried_by(&self, carrier: Carrier) {
        let mut kind = lock(&self.kind);
        if std::mem::replace(&mut kind.carrier, carrier) != carrier {
            let mut taken = lock(&self.admission.taken);
            match carrier {
                Carrier::Polling => taken.polling += 1,
                Carrier::WebSocket => taken.polling -= 1,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let kind = lock(&self.kind);
        let mut taken = lock(&self.admission.taken);
        taken.sessions -= 1;
        taken.unconnected -= usize::from(!kind.is_connected);
        taken.polling -= usize::from(kind.carrier == Carrier::Polling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_polling_sessions_take_at_most_a_quarter() {
        let admission = Admission::new(8);
        let connect = |carrier| {
            let place = admission.take(carrier)?;
            place.connected();
            Ok::<_, Limit>(place)
        };
        let first = connect(Carrier::Polling).unwrap();
        let _second = connect(Carrier::Polling).unwrap();
        let refused = connect(Carrier::Polling).err();
        assert_eq!(refused, Some(Limit::PollingSessions));
        // One that has moved to a WebSocket does not count, unless it moves back.
        first.carried_by(Carrier::WebSocket);
        let third = connect(Carrier::Polling).unwrap();
        first.carried_by(Carrier::Polling);
        drop(third);
        assert!(connect(Carrier::Polling).is_err());
        let places: Vec<_> = (0..6)
            .map(|_| connect(Carrier::WebSocket).unwrap())
            .collect();
        assert_eq!(connect(Carrier::WebSocket).err(), Some(Limit::Connections));
        drop((first, places));
        assert!(connect(Carrier::Polling).is_ok());
    }

    #[test]
    fn sessions_without_connect_take_at_most_a_quarter() {
        let admission = Admission::new(8);
        let take = || admission.take(Carrier::WebSocket);
        let (first, second) = (take().unwrap(), take().unwrap());
        assert_eq!(take().err(), Some(Limit::UnconnectedSessions));
        first.connected();
        first.connected();
        let third = take().unwrap();
        assert!(take().is_err());
        drop((first, second, third));
        assert_eq!(*lock(&admission.taken), Taken::default());
    }

    #[test]
    fn a_small_node_has_a_place_of_each_kind_and_0_is_no_limit() {
        let one = Admission::new(1);
        let place = one.take(Carrier::Polling).unwrap();
        assert_eq!(one.take(Carrier::Polling).err(), Some(Limit::Connections));
        drop(place);
        let unlimited = Admission::new(0);
        let places = (0..1000).map(|_| unlimited.take(Carrier::Polling));
        assert_eq!(places.filter(Result::is_ok).count(), 1000);
    }
}
