//! One Engine.IO session: the way to one client, whichever transport carries it.
//!
//! A session begins with a request without `sid`. It is known to the library by
//! the request's extensions, to later requests by its id ([`Sessions`]), and to
//! the WebSocket that carries it (now, or after an upgrade) as its owner.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::connection::{Ending, Wire, WireOwner};
use crate::lock;
use crate::socket::flusher::Flushers;
use crate::socket::outbox::Outbox;

/// How long the last packets may take to leave before the transport is closed.
const FLUSH_DEADLINE: Duration = Duration::from_millis(500);

/// An Engine.IO session.
pub(crate) struct Session {
    outbox: Arc<Outbox>,
    wire: Mutex<Option<Weak<Wire>>>,
    /// What later requests of long-polling call it; unset for a session that
    /// began as a WebSocket.
    sid: OnceLock<Box<str>>,
    ended: CancellationToken,
    connected_before: AtomicBool,
    sessions: Arc<Sessions>,
}

impl Session {
    /// Whether this is asked for the first time: a session connects once to the
    /// namespace, and ends when it has left it.
    pub(crate) fn is_first_connect(&self) -> bool {
        !self.connected_before.swap(true, Ordering::Relaxed)
    }

    /// What waits for this client.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The WebSocket of this connection carries the session from now on.
    pub(crate) fn carried_by(self: &Arc<Self>, wire: &Arc<Wire>) {
        *lock(&self.wire) = Some(Arc::downgrade(wire));
        self.outbox.carried_by(wire);
        let owner: Weak<Self> = Arc::downgrade(self);
        wire.belongs_to(owner);
        if self.ended.is_cancelled() {
            wire.end(Ending::Finish);
        }
    }

    /// Asks the library for the first time on behalf of a request of long-polling,
    /// unless a WebSocket carries the session or is about to: `None` then.
    ///
    /// The library ends a session whose request finds its queue taken by an upgrade
    /// that began in the same instant. Here one of the two comes first: the upgrade
    /// begins when its response is out, after [`carried_by`](Self::carried_by).
    pub(crate) fn poll_before_websocket<T>(&self, poll: impl FnOnce() -> T) -> Option<T> {
        let wire = lock(&self.wire);
        wire.is_none().then(poll)
    }

    /// Whether a WebSocket carries the session, or is about to.
    pub(crate) fn has_websocket(&self) -> bool {
        lock(&self.wire).is_some()
    }

    /// Ends once the session does.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Closes the transport: the WebSocket's TCP connection, or the long-polling
    /// session. Nothing is sent to say so, so that the standard client reconnects.
    pub(crate) fn end(&self, ending: Ending) {
        if self.ended.is_cancelled() {
            return;
        }
        self.ended.cancel();
        let wire = lock(&self.wire).as_ref().and_then(Weak::upgrade);
        if let Some(wire) = wire {
            wire.end(ending);
        }
        // A session that began with long-polling may still be on it, or half-way
        // through its upgrade; the library refuses if it is not.
        if let (Some(sid), Some(end)) = (self.sid.get(), self.sessions.end_polling.get()) {
            end(sid);
        }
    }

    /// Closes the transport once everything that waits has left, or half a second
    /// later.
    pub(crate) async fn end_when_flushed(&self) {
        tokio::select! {
            () = self.outbox.flushed() => {}
            () = tokio::time::sleep(FLUSH_DEADLINE) => {}
            () = self.ended.cancelled() => {}
        }
        self.end(Ending::Finish);
    }
}

impl WireOwner for Session {
    fn write(&self, bytes: &[u8]) {
        self.outbox.write_for_library(bytes);
    }

    fn finish(&self) {
        self.outbox.flush();
    }

    fn poll_may_read(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.outbox.poll_uncongested(cx)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(sid) = self.sid.get() {
            lock(&self.sessions.polling).remove(sid);
        }
    }
}

/// Ends the long-polling session of this id in the library.
type EndPolling = Box<dyn Fn(&str) + Send + Sync>;

/// All sessions that began with long-polling, by their id.
#[derive(Default)]
pub(crate) struct Sessions {
    polling: Mutex<HashMap<Box<str>, Weak<Session>>>,
    end_polling: OnceLock<EndPolling>,
    flushers: Flushers,
}

impl Sessions {
    /// Who writes what waits for the clients.
    pub(crate) fn flushers(&self) -> &Flushers {
        &self.flushers
    }

    /// Says how a long-polling session is ended; once.
    pub(crate) fn end_polling_with(&self, end: impl Fn(&str) + Send + Sync + 'static) {
        self.end_polling.set(Box::new(end)).ok();
    }

    /// A session for a request without `sid`.
    pub(crate) fn begin(self: &Arc<Self>) -> Arc<Session> {
        Arc::new(Session {
            outbox: Outbox::new(self.flushers.next()),
            wire: Mutex::new(None),
            sid: OnceLock::new(),
            ended: CancellationToken::new(),
            connected_before: AtomicBool::new(false),
            sessions: self.clone(),
        })
    }

    /// The library gave the session this id.
    pub(crate) fn began_polling(&self, session: &Arc<Session>, sid: &str) {
        if session.sid.set(sid.into()).is_ok() {
            lock(&self.polling).insert(sid.into(), Arc::downgrade(session));
        }
    }

    /// The session of this id, if it began with long-polling and has not ended.
    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Session>> {
        lock(&self.polling).get(sid)?.upgrade()
    }
}
