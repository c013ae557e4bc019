//! One connected client: its identity, its inbox, its outbox, and how its events are
//! carried out.
//!
//! A task does so while there are events. What they do shows in the order of their
//! arrival: messages are on their way to the log together, where each takes its place
//! before the next one may; everything else waits for those before it.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use chat_domain::use_cases::SentMessage;
use chat_domain::{Identity, Membership};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _, poll};
use socketioxide_core::Sid;

use super::inbox::{Full, Inbox, Pushed, Rest};
use super::outbox::Gone;
use super::packet::Packet;
use super::protocol::{Event, Malformed};
use super::reply::{Failure, Request};
use super::{messages, rooms};
use crate::gateway::Gateway;
use crate::lock;
use crate::session::Session;

/// A connected client.
pub(crate) struct Connection {
    pub(crate) id: Sid,
    pub(crate) identity: Identity,
    pub(crate) session: Arc<Session>,
    inbox: Inbox<Arrival>,
    /// With whoever serves the inbox, while somebody does.
    membership: Mutex<Membership>,
    closed: AtomicBool,
}

/// An event that has taken its place.
struct Arrival {
    request: Request,
    outcome: Result<Event, Malformed>,
}

impl Connection {
    pub(super) fn new(
        id: Sid,
        identity: Identity,
        session: Arc<Session>,
        max_in_flight: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            identity,
            session,
            inbox: Inbox::new(max_in_flight),
            membership: Mutex::default(),
            closed: AtomicBool::new(false),
        })
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
        self.closed.load(Ordering::Acquire)
    }

    /// Whether everything that the client asked for is done and on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.inbox.is_idle()
    }

    /// An event came in. Called in the reader's own turn: the order of these calls
    /// is the order in which the events take effect.
    pub(super) fn receive(
        self: &Arc<Self>,
        gateway: &Arc<Gateway>,
        request: Request,
        outcome: Result<Event, Malformed>,
    ) {
        if gateway.draining.is_cancelled() {
            self.send(request.failure(&Failure::draining()));
            return;
        }
        let arrival = Arrival { request, outcome };
        match self.inbox.push(arrival) {
            Ok(pushed) => self.see_to(gateway, pushed),
            Err(Full(arrival)) => {
                let failure = Failure::too_many_in_progress();
                self.send(arrival.request.failure(&failure));
            }
        }
    }

    fn see_to(self: &Arc<Self>, gateway: &Arc<Gateway>, pushed: Pushed) {
        if pushed == Pushed::MustBeServed {
            let serving = self.clone().serve(gateway.clone());
            gateway.tasks.spawn(serving);
        }
    }

    /// The client has disconnected: nothing goes out any more. What came in before
    /// is still carried out.
    pub(super) fn close(self: &Arc<Self>, gateway: &Arc<Gateway>) {
        self.closed.store(true, Ordering::Release);
        self.session.outbox().close();
        let pushed = self.inbox.close();
        self.see_to(gateway, pushed);
    }

    /// The token has expired: the client is told, disconnected, and its transport
    /// is closed. What has begun is carried to its end.
    pub(crate) fn expire(self: &Arc<Self>, gateway: &Arc<Gateway>) {
        if self.is_closed() {
            return;
        }
        self.inbox.clear();
        let pushed = self.inbox.close();
        self.see_to(gateway, pushed);
        let told = Request::default().failure(&Failure::token_expired());
        self.send(told.chain([Packet::disconnect()]));
        let session = self.session.clone();
        gateway
            .tasks
            .spawn(async move { session.end_when_flushed().await });
    }

    /// Carries out the client's events until there are none. When it is gone, it has
    /// left every room.
    async fn serve(self: Arc<Self>, gateway: Arc<Gateway>) {
        let mut membership = std::mem::take(&mut *lock(&self.membership));
        let mut next = None;
        loop {
            let arrival = next.take().or_else(|| self.inbox.take());
            let Some(Arrival { request, outcome }) = arrival else {
                *lock(&self.membership) = std::mem::take(&mut membership);
                match self.inbox.rest() {
                    Rest::No => {}
                    Rest::ForNow => return,
                    Rest::ForEver => break,
                }
                membership = std::mem::take(&mut *lock(&self.membership));
                continue;
            };
            // What the client asked for before is answered first: answers that nobody
            // takes must not pile up.
            self.session.outbox().uncongested().await;
            match outcome {
                Ok(Event::SendMessage(sent)) => {
                    let first = (request, sent);
                    next = self.send_together(&gateway, &membership, first).await;
                }
                outcome => {
                    let handled = self.handle(&gateway, &mut membership, &request, outcome);
                    self.carry_out(&request, handled).await;
                }
            }
        }
        for room_id in std::mem::take(&mut *lock(&self.membership)).iter() {
            gateway.rooms.leave(room_id, self.id);
        }
    }

    /// Sends messages for as long as more come in before the last is stored. Ends when
    /// all are answered, with the event that came after them, if one did.
    async fn send_together(
        &self,
        gateway: &Gateway,
        membership: &Membership,
        first: (Request, SentMessage),
    ) -> Option<Arrival> {
        let mut sending = FuturesUnordered::new();
        let mut next = Some(first);
        loop {
            if let Some((request, sent)) = next.take() {
                let mut sent = Box::pin(async move {
                    let sent = messages::send(self, gateway, membership, &request, sent);
                    self.carry_out(&request, sent).await;
                });
                // In its first turn it takes its place in the log.
                if poll!(&mut sent).is_pending() {
                    sending.push(sent);
                }
            }
            let arrival = if sending.is_empty() {
                self.inbox.take()?
            } else {
                tokio::select! {
                    biased;
                    Some(()) = sending.next() => continue,
                    arrival = self.next_arrival() => arrival,
                }
            };
            match arrival.outcome {
                Ok(Event::SendMessage(sent)) => next = Some((arrival.request, sent)),
                outcome => {
                    while sending.next().await.is_some() {}
                    let request = arrival.request;
                    return Some(Arrival { request, outcome });
                }
            }
        }
    }

    async fn next_arrival(&self) -> Arrival {
        self.session.outbox().uncongested().await;
        poll_fn(|cx| self.inbox.poll_take(cx)).await
    }

    /// Carries an event to its end, and answers if it failed.
    async fn carry_out(
        &self,
        request: &Request,
        handled: impl Future<Output = Result<(), Failure>>,
    ) {
        // A panic is a fault of one event, not the end of a connection that then
        // would never be answered again.
        let outcome = AssertUnwindSafe(handled)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Failure::internal("a handler panicked")));
        if let Err(failure) = outcome {
            self.send(request.failure(&failure));
        }
        self.inbox.done();
    }

    async fn handle(
        self: &Arc<Self>,
        gateway: &Gateway,
        membership: &mut Membership,
        request: &Request,
        outcome: Result<Event, Malformed>,
    ) -> Result<(), Failure> {
        match outcome? {
            Event::JoinRoom { room_id, after } => {
                rooms::join(self, gateway, membership, request, room_id, after).await
            }
            Event::LeaveRoom { room_id } => {
                rooms::leave(self, gateway, membership, request, room_id);
                Ok(())
            }
            Event::SendMessage(sent) => {
                messages::send(self, gateway, membership, request, sent).await
            }
            Event::ListMessages {
                room_id,
                start,
                limit,
            } => messages::list(self, gateway, membership, request, room_id, start, limit).await,
            Event::MarkRead { room_id, seq } => {
                messages::mark_read(self, gateway, membership, request, room_id, seq).await
            }
        }
    }
}
