//! One connected client: its identity, its inbox, its outbox, and the task that
//! carries out its events.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chat_domain::{Identity, Membership};
use futures_util::FutureExt as _;
use socketioxide_core::Sid;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::inbox::{Arrivals, Inbox};
use super::outbox::{Gone, Packet};
use super::protocol::{Event, Malformed};
use super::reply::{Failure, Request};
use super::{messages, rooms};
use crate::gateway::Gateway;
use crate::session::Session;

/// A timer cannot be set for ever; whoever is connected for a year is asked again.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A connected client.
pub(crate) struct Connection {
    pub(crate) id: Sid,
    pub(crate) identity: Identity,
    pub(crate) session: Arc<Session>,
    inbox: Inbox<Arrival>,
    closed: CancellationToken,
}

/// An event that has taken its place.
pub(super) struct Arrival {
    request: Request,
    outcome: Result<Event, Malformed>,
}

impl Connection {
    pub(super) fn new(
        id: Sid,
        identity: Identity,
        session: Arc<Session>,
        max_in_flight: usize,
    ) -> (Arc<Self>, Arrivals<Arrival>) {
        let (inbox, arrivals) = Inbox::new(max_in_flight);
        let connection = Self {
            id,
            identity,
            session,
            inbox,
            closed: CancellationToken::new(),
        };
        (Arc::new(connection), arrivals)
    }

    /// Sends packets to the client.
    pub(crate) fn send(&self, packets: impl IntoIterator<Item = Packet>) {
        self.session.outbox().push(packets);
    }

    /// Sends a packet when the client has taken enough of those before.
    ///
    /// # Errors
    /// [`Gone`]: it never will.
    pub(crate) async fn send_in_time(&self, packet: Packet) -> Result<(), Gone> {
        self.session.outbox().space().await?;
        self.send([packet]);
        Ok(())
    }

    /// Whether the client has disconnected.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Whether everything that the client asked for is done and on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.inbox.is_idle()
    }

    /// An event came in. Called in the reader's own turn: the order of these calls
    /// is the order in which the events take effect.
    pub(super) fn receive(
        &self,
        gateway: &Gateway,
        request: Request,
        outcome: Result<Event, Malformed>,
    ) {
        if gateway.draining.is_cancelled() {
            self.send(request.failure(&Failure::draining()));
            return;
        }
        let answer_to = request.clone();
        if self.inbox.push(Arrival { request, outcome }).is_err() {
            self.send(answer_to.failure(&Failure::too_many_in_progress()));
        }
    }

    /// The client has disconnected: nothing goes out any more. What came in before
    /// is still carried out.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.inbox.close();
        self.session.outbox().close();
    }

    /// Carries out the client's events until it is gone and all are done.
    pub(super) async fn run(
        self: Arc<Self>,
        gateway: Arc<Gateway>,
        mut arrivals: Arrivals<Arrival>,
    ) {
        let mut membership = Membership::default();
        let now = gateway.clock.now().unix_millis();
        let left = self.identity.valid_until.unix_millis().saturating_sub(now);
        let life = Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(LONGEST_LIFE);
        let expiry = tokio::time::sleep_until(Instant::now() + life);
        tokio::pin!(expiry);
        let mut expired = false;

        while let Some(arrival) = tokio::select! {
            biased;
            () = &mut expiry => None,
            arrival = arrivals.next() => arrival,
        } {
            let handled = self.handle(&gateway, &mut membership, arrival);
            tokio::pin!(handled);
            // What has begun is carried to its end, whatever happens meanwhile.
            loop {
                tokio::select! {
                    () = &mut handled => break,
                    () = &mut expiry, if !expired => {
                        expired = true;
                        self.expire(&gateway);
                    }
                }
            }
            arrivals.done();
            if expired {
                break;
            }
        }
        if expiry.is_elapsed() && !expired {
            self.expire(&gateway);
        }
        for room_id in membership.iter() {
            gateway.rooms.leave(room_id, self.id);
        }
    }

    /// The token has expired: the client is told, disconnected, and its transport
    /// is closed.
    fn expire(&self, gateway: &Gateway) {
        if self.is_closed() {
            return;
        }
        self.inbox.close();
        let told = Request::default().failure(&Failure::token_expired());
        self.send(told.chain([Packet::Disconnect]));
        let session = self.session.clone();
        gateway
            .tasks
            .spawn(async move { session.end_when_flushed().await });
    }

    async fn handle(
        self: &Arc<Self>,
        gateway: &Gateway,
        membership: &mut Membership,
        arrival: Arrival,
    ) {
        // What the client asked for before is answered first: answers that nobody
        // takes must not pile up.
        self.session.outbox().uncongested().await;
        let Arrival { request, outcome } = arrival;
        let carried_out = async {
            match outcome.map_err(Failure::from)? {
                Event::JoinRoom { room_id, after } => {
                    rooms::join(self, gateway, membership, &request, room_id, after).await
                }
                Event::LeaveRoom { room_id } => {
                    rooms::leave(self, gateway, membership, &request, room_id);
                    Ok(())
                }
                Event::SendMessage(sent) => {
                    messages::send(self, gateway, membership, &request, sent).await
                }
                Event::ListMessages {
                    room_id,
                    start,
                    limit,
                } => {
                    messages::list(self, gateway, membership, &request, room_id, start, limit).await
                }
                Event::MarkRead { room_id, seq } => {
                    messages::mark_read(self, gateway, membership, &request, room_id, seq).await
                }
            }
        };
        // A panic is a fault of one event, not the end of a connection that then
        // would never be answered again.
        let outcome = AssertUnwindSafe(carried_out)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Failure::internal("a handler panicked")));
        if let Err(failure) = outcome {
            self.send(request.failure(&failure));
        }
    }
}
