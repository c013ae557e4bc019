//! One connected client: its identity, its inbox, and the rooms that it has joined.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use chat_delivery::Moment;
use chat_domain::{ConnectionId, Identity, Membership, Visibility};
use opentelemetry::Context;
use tracing::Span;

use super::exclusions::Exclusions;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::reply::{Failure, Request};
use super::{Event, inbox};
use crate::clients::{Clients, HasExpired};
use crate::gateway::Gateway;
use crate::lock;
use crate::metrics::DisconnectReason;
use crate::session::Session;

/// A connected client.
pub(crate) struct Client {
    /// What its token states. The user never changes.
    identity: Mutex<Arc<Identity>>,
    pub(crate) session: Arc<Session>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) clients: Arc<Clients>,
    pub(super) inbox: Inbox<Asked, Command>,
    /// The trace to which the client's events belong, if it named one.
    pub(super) trace: Option<Context>,
    /// Taken by the task that serves the inbox, while there is one.
    pub(super) membership: Mutex<Membership>,
    pub(crate) exclusions: Exclusions,
    connected_at: tokio::time::Instant,
    /// As what the connection counts among those of its user, while it does.
    counted_as: Mutex<Option<Visibility>>,
    /// When the client first asked for its rooms.
    listed_rooms: OnceLock<Moment>,
}

/// An event of the client that has taken its place.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) outcome: Result<Event, Failure>,
    pub(super) packet: Packet,
}

/// What is known of an event's packet.
#[derive(Debug)]
pub(super) struct Packet {
    /// Its size.
    pub(super) bytes: usize,
    pub(super) arrived: Instant,
    /// From its arrival until it is answered.
    pub(super) span: Span,
}

/// What the gateway asks of a connection, in order with the client's events.
pub(super) enum Command {
    /// Leave every room: the client has disconnected.
    LeaveAllRooms,
}

/// An entry of a client's inbox.
pub(super) type Arrival = inbox::Arrival<Asked, Command>;

/// The slot of an event that has begun, among those that may be in progress. It is released
/// before the answer is sent, because the client may send another event at once.
pub(super) struct Slot<'a> {
    inbox: &'a Inbox<Asked, Command>,
    is_taken: AtomicBool,
}

impl<'a> Slot<'a> {
    pub(super) fn of(client: &'a Client) -> Self {
        Self {
            inbox: &client.inbox,
            is_taken: AtomicBool::new(true),
        }
    }

    /// Releases the slot. Only the first call has an effect.
    pub(super) fn release(&self) {
        if self.is_taken.swap(false, Ordering::Relaxed) {
            self.inbox.answering();
        }
    }
}

impl Client {
    pub(super) fn new(
        identity: Identity,
        session: Arc<Session>,
        gateway: Arc<Gateway>,
        clients: Arc<Clients>,
        trace: Option<Context>,
    ) -> Arc<Self> {
        let identity = Arc::new(identity);
        session.outbox().set_identity(identity.clone());
        Arc::new(Self {
            identity: Mutex::new(identity),
            session,
            clients,
            inbox: Inbox::new(gateway.limits.max_in_flight),
            trace,
            membership: Mutex::default(),
            exclusions: Exclusions::default(),
            connected_at: tokio::time::Instant::now(),
            counted_as: Mutex::default(),
            listed_rooms: OnceLock::new(),
            gateway,
        })
    }

    /// Returns the connection's id.
    pub(crate) fn id(&self) -> ConnectionId {
        self.session.connection_id()
    }

    /// Returns when the client connected.
    pub(crate) fn connected_at(&self) -> tokio::time::Instant {
        self.connected_at
    }

    /// Returns what the client's token states.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        lock(&self.identity).clone()
    }

    /// Replaces what the client's token states. Only [`Clients`] may, which knows when it
    /// expires.
    pub(crate) fn set_identity(&self, identity: Arc<Identity>) {
        self.outbox().set_identity(identity.clone());
        *lock(&self.identity) = identity;
    }

    /// Lets a new token of the same user take effect.
    ///
    /// # Errors
    /// [`HasExpired`].
    pub(super) fn renew(&self, identity: Identity) -> Result<Arc<Identity>, HasExpired> {
        let identity = Arc::new(identity);
        self.clients.renew(self, &identity)?;
        Ok(identity)
    }

    /// Lets others see that the user is online, unless its token hides it.
    pub(super) fn appear(&self) {
        let mut counted_as = lock(&self.counted_as);
        if counted_as.is_none() {
            let identity = self.identity();
            let presence = &self.gateway.presence;
            presence.connect(&identity.user, identity.visibility);
            *counted_as = Some(identity.visibility);
        }
    }

    /// Lets others see the user, or not, as its new token states.
    pub(super) fn reappear(&self, identity: &Identity) {
        let mut counted_as = lock(&self.counted_as);
        let presence = &self.gateway.presence;
        match (*counted_as, identity.visibility) {
            (Some(Visibility::Visible), Visibility::Invisible) => presence.hide(&identity.user),
            (Some(Visibility::Invisible), Visibility::Visible) => {
                presence.connect(&identity.user, Visibility::Visible);
            }
            _ => return,
        }
        *counted_as = Some(identity.visibility);
    }

    /// The connection has ended. Only the first call has an effect. Not called where a connection
    /// is closed: that may be while it is told of another user's presence.
    pub(super) fn disappear(&self) {
        if lock(&self.counted_as).take() == Some(Visibility::Visible) {
            let presence = &self.gateway.presence;
            presence.disconnect(&self.identity().user.id);
        }
    }

    /// Notes that the client asks for its rooms.
    pub(super) fn has_listed_rooms(&self) {
        let now = || self.gateway.watchers.now();
        self.listed_rooms.get_or_init(now);
    }

    /// Returns when the client first asked for its rooms, if it has.
    pub(super) fn listed_rooms(&self) -> Option<Moment> {
        self.listed_rooms.get().copied()
    }

    /// Returns what waits for the client.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        self.session.outbox()
    }

    /// Sends packets to the client.
    pub(super) fn send(&self, packets: impl IntoIterator<Item = Bytes>) {
        self.outbox().push(packets);
    }

    /// Lets the client's events finish and their answers leave, then closes its transport
    /// without announcing it. Further events are left unanswered, as if they had not arrived.
    pub(crate) async fn drain(&self) {
        let metrics = &self.gateway.metrics;
        metrics.forced_disconnect(DisconnectReason::Draining);
        self.inbox.drain().await;
        self.session.end_when_flushed().await;
    }
}
