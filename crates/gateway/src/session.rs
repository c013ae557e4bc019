//! One Engine.IO session: the path to one client, whichever transport carries it.
//!
//! A session begins with a request without `sid`. socketioxide knows it through the
//! request's extensions, later requests find it by its id ([`Sessions`]), and the WebSocket
//! that carries it (at once, or after an upgrade) has it as its owner.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chat_domain::ConnectionId;
use tokio_util::sync::CancellationToken;

use crate::admission::{Carrier, Place};
use crate::limits::{DEPARTURE_INTERVAL, FLUSH_DEADLINE, MAX_BYTES_IN_PROGRESS};
use crate::lock;
use crate::metrics::{DisconnectReason, Metrics};
use crate::refusals::{Limit, Refusals};
use crate::socket::flusher::{Flush as _, Flushers};
use crate::socket::outbox::Outbox;
use crate::spacing::Spacing;
use crate::wire::{Ended, Ending, Wire, WireOwner};

/// An Engine.IO session.
pub(crate) struct Session {
    connection_id: ConnectionId,
    client_address: IpAddr,
    place: Place,
    outbox: Arc<Outbox>,
    in_progress: Mutex<InProgress>,
    wire: Mutex<Option<Weak<Wire>>>,
    /// The id by which later requests of long-polling find the session; unset for one that
    /// began as a WebSocket.
    sid: OnceLock<Box<str>>,
    ended: CancellationToken,
    has_connected: AtomicBool,
    sessions: Arc<Sessions>,
}

/// The client's events in progress, by size.
#[derive(Default)]
struct InProgress {
    bytes: usize,
    reader: Option<Waker>,
}

impl Session {
    /// Returns the id of the connection that the session makes.
    pub(crate) fn connection_id(&self) -> ConnectionId {
        self.connection_id
    }

    /// Returns the address from which the session began.
    pub(crate) fn client_address(&self) -> IpAddr {
        self.client_address
    }

    /// Returns the session's place among those of the node.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Returns whether this is the first call: a session connects to the namespace once,
    /// and ends when it has left it.
    pub(crate) fn is_first_connect(&self) -> bool {
        !self.has_connected.swap(true, Ordering::Relaxed)
    }

    /// Returns what waits for this client.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Notes that an event of this size is in progress.
    pub(crate) fn took_in(&self, bytes: usize) {
        lock(&self.in_progress).bytes += bytes;
    }

    /// Notes that an event of this size is done.
    pub(crate) fn finished(&self, bytes: usize) {
        let mut in_progress = lock(&self.in_progress);
        in_progress.bytes -= bytes;
        if in_progress.bytes < MAX_BYTES_IN_PROGRESS
            && let Some(reader) = in_progress.reader.take()
        {
            reader.wake();
        }
    }

    /// Returns `Ready` when more may be read from the client. Remembers one reader.
    pub(crate) fn poll_may_read(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut in_progress = lock(&self.in_progress);
        if in_progress.bytes >= MAX_BYTES_IN_PROGRESS {
            in_progress.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(in_progress);
        self.outbox.poll_uncongested(cx)
    }

    /// Sets the connection whose WebSocket carries the session from now on.
    pub(crate) fn carried_by(self: &Arc<Self>, wire: &Arc<Wire>) {
        *lock(&self.wire) = Some(Arc::downgrade(wire));
        self.place.carried_by(Carrier::WebSocket);
        self.outbox.carried_by(wire);
        let owner: Weak<Self> = Arc::downgrade(self);
        wire.belongs_to(owner);
        if self.ended.is_cancelled() {
            wire.end(Ending::Finish);
        }
    }

    /// Polls socketioxide for the first time on behalf of a long-polling request, unless a
    /// WebSocket carries the session or is about to: then it returns `None`.
    ///
    /// socketioxide ends a session whose request finds its queue taken by an upgrade that
    /// began in the same instant. Here one of the two comes first: the upgrade begins when
    /// its response is out, after [`carried_by`](Self::carried_by).
    pub(crate) fn poll_before_websocket<T>(&self, poll: impl FnOnce() -> T) -> Option<T> {
        let wire = lock(&self.wire);
        (!is_alive(wire.as_ref())).then(poll)
    }

    /// Returns whether a WebSocket carries the session or is about to. One whose connection
    /// ended before its upgrade was complete does not.
    pub(crate) fn has_websocket(&self) -> bool {
        is_alive(lock(&self.wire).as_ref())
    }

    /// Is cancelled when the session ends.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Closes the transport: the WebSocket's TCP connection, or the long-polling session. No
    /// packet announces it, so that the standard client reconnects.
    pub(crate) fn end(&self, ending: Ending) -> Ended {
        if self.ended.is_cancelled() {
            return Ended::Before;
        }
        self.ended.cancel();
        let wire = lock(&self.wire).as_ref().and_then(Weak::upgrade);
        let ended = wire.map_or(Ended::Now, |wire| wire.end(ending));
        // A session that began with long-polling may still use it, or be in the middle of
        // its upgrade; otherwise socketioxide refuses.
        if let (Some(sid), Some(end)) = (self.sid.get(), self.sessions.end_polling.get()) {
            end(sid);
        }
        ended
    }

    /// Closes the transport of a client that is too slow, and counts it.
    pub(crate) fn abort(&self, reason: DisconnectReason) {
        if self.end(Ending::Abort) == Ended::Now {
            self.sessions.metrics.forced_disconnect(reason);
        }
    }

    /// Closes the transport once everything that waits has left, or after
    /// [`FLUSH_DEADLINE`].
    pub(crate) async fn end_when_flushed(&self) {
        tokio::select! {
            () = self.outbox.flushed() => {}
            () = tokio::time::sleep(FLUSH_DEADLINE) => {}
            () = self.ended.cancelled() => {}
        }
        self.end(Ending::Finish);
    }
}

fn is_alive(wire: Option<&Weak<Wire>>) -> bool {
    wire.is_some_and(|wire| wire.strong_count() > 0)
}

impl WireOwner for Session {
    fn write(&self, bytes: &[u8]) {
        self.outbox.write_for_socketioxide(bytes);
    }

    fn announced(&self, bytes: u64) -> bool {
        let PacketLimit {
            max_bytes,
            refusals,
        } = &self.sessions.packet_limit;
        let is_too_large = bytes > *max_bytes;
        if is_too_large {
            refusals.count(Limit::PacketBytes, self.client_address);
        }
        !is_too_large
    }

    fn depart(&self) -> Duration {
        let departures = &self.sessions.departures;
        departures.take(Duration::MAX).unwrap_or_default()
    }

    fn finish(&self) {
        self.outbox.flush();
        if self.sid.get().is_some() {
            // A session that began with long-polling goes on with it if it was upgrading.
            self.place.carried_by(Carrier::Polling);
        }
    }

    fn poll_may_read(&self, cx: &mut Context<'_>) -> Poll<()> {
        Session::poll_may_read(self, cx)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(sid) = self.sid.get() {
            lock(&self.sessions.polling).remove(sid);
        }
    }
}

/// Ends the long-polling session with this id in socketioxide.
type EndPolling = Box<dyn Fn(&str) + Send + Sync>;

/// The limit of incoming packets, which socketioxide enforces, and where it is counted.
pub(crate) struct PacketLimit {
    pub(crate) max_bytes: u64,
    pub(crate) refusals: Arc<Refusals>,
}

/// All sessions that began with long-polling, by id.
pub(crate) struct Sessions {
    polling: Mutex<HashMap<Box<str>, Weak<Session>>>,
    end_polling: OnceLock<EndPolling>,
    flushers: Flushers,
    metrics: Arc<Metrics>,
    last_connection_id: AtomicU64,
    packet_limit: PacketLimit,
    departures: Spacing,
}

impl Sessions {
    /// Creates the registry of a node without sessions.
    pub(crate) fn new(packet_limit: PacketLimit, metrics: Arc<Metrics>) -> Self {
        Self {
            polling: Mutex::default(),
            end_polling: OnceLock::new(),
            flushers: Flushers::default(),
            last_connection_id: AtomicU64::default(),
            packet_limit,
            departures: Spacing::new(DEPARTURE_INTERVAL),
            metrics,
        }
    }

    /// Returns what writes the outboxes.
    pub(crate) fn flushers(&self) -> &Flushers {
        &self.flushers
    }

    /// Sets how a long-polling session is ended. Only the first call has an effect.
    pub(crate) fn end_polling_with(&self, end: impl Fn(&str) + Send + Sync + 'static) {
        self.end_polling.set(Box::new(end)).ok();
    }

    /// Creates a session for a request without `sid` from this address.
    pub(crate) fn begin(self: &Arc<Self>, client_address: IpAddr, place: Place) -> Arc<Session> {
        let id = self.last_connection_id.fetch_add(1, Ordering::Relaxed);
        let connection_id = ConnectionId::new(id);
        Arc::new(Session {
            connection_id,
            client_address,
            place,
            outbox: Outbox::new(connection_id, self.flushers.next(), self.metrics.clone()),
            in_progress: Mutex::default(),
            wire: Mutex::new(None),
            sid: OnceLock::new(),
            ended: CancellationToken::new(),
            has_connected: AtomicBool::new(false),
            sessions: self.clone(),
        })
    }

    /// Notes the id that socketioxide gave the session.
    pub(crate) fn began_polling(&self, session: &Arc<Session>, sid: &str) {
        if session.sid.set(sid.into()).is_ok() {
            lock(&self.polling).insert(sid.into(), Arc::downgrade(session));
        }
    }

    /// Returns the session with this id, if it began with long-polling and still exists.
    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Session>> {
        lock(&self.polling).get(sid)?.upgrade()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::admission::Admission;
    use crate::wire::Stream;

    #[tokio::test]
    async fn a_connection_that_ended_before_its_upgrade_leaves_the_session_to_polling() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = Stream::new(accepted.unwrap().0).unwrap();
        let place = Admission::new(0).take(Carrier::Polling).unwrap();
        let packet_limit = PacketLimit {
            max_bytes: u64::MAX,
            refusals: Arc::default(),
        };
        let sessions = Arc::new(Sessions::new(packet_limit, Arc::default()));
        let session = sessions.begin(Ipv4Addr::LOCALHOST.into(), place);
        session.carried_by(stream.wire());
        assert!(session.has_websocket());
        assert_eq!(session.poll_before_websocket(|| "polled"), None);
        drop((client, stream));
        assert!(!session.has_websocket());
        assert_eq!(session.poll_before_websocket(|| "polled"), Some("polled"));
    }
}
