//! How a client's events are carried out.
//!
//! A task does so while there are events. They take effect in arrival order: messages are
//! on their way to the log together, where each takes its place before the next one may;
//! every other event waits for those before it.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use chat_domain::{Identity, Membership};
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::client::{Arrival, Asked, Client, Command, Packet, Slot};
use super::context::Context;
use super::inbox::{Pushed, Refused, Rest};
use super::reply::{Failure, Request};
use super::sending::{self, Outgoing};
use super::{Event, packet, protocol};
use crate::limits::{ENDED_AT_ONCE, ENDING_INTERVAL};
use crate::lock;
use crate::metrics::{DisconnectReason, EventName};
use crate::rates::RetryAfter;
use crate::refusals::Limit;
use crate::traces;

/// Takes an event in. Called in the reader's own turn: the order of these calls is the order
/// in which the events take effect.
pub(super) fn receive(client: &Arc<Client>, packet: &str, ack: Option<i64>) {
    let arrived = Instant::now();
    let received = protocol::read(packet, Event::parse);
    let outcome = received.outcome.map_err(Failure::from);
    let outcome = outcome.and_then(|event| check_rate(client, event));
    let traces = client.gateway.traces;
    let name = received.event.as_deref();
    let span = traces.event(name, received.room_id, client.trace.as_ref());
    let asked = Asked {
        request: Request {
            event: received.event,
            room_id: received.room_id,
            client_message_id: received.client_message_id,
            ack,
        },
        outcome,
        packet: Packet {
            bytes: packet.len(),
            arrived,
            span,
        },
    };
    client.session.took_in(packet.len());
    let (refused, failure) = match client.inbox.push(asked) {
        Ok(pushed) => return start_if_needed(client, pushed),
        Err(Refused::Full(asked)) => {
            count_refusal(client, Limit::InFlight);
            (asked, Failure::too_many_in_progress())
        }
        // The transport is closed, or about to be: to the client, the event did not arrive.
        Err(Refused::Closed) => return client.session.finished(packet.len()),
    };
    count(client, &refused.request, &refused.packet, Err(&failure));
    client.send(refused.request.failure(&failure));
    client.session.finished(packet.len());
}

/// Counts an event that is about to be answered.
fn count(client: &Client, request: &Request, packet: &Packet, outcome: Result<(), &Failure>) {
    let event = EventName::of(request.event.as_deref());
    let outcome = outcome.map_err(Failure::code);
    client.gateway.metrics.event(event, outcome);
    traces::answered(&packet.span, outcome);
}

/// Refuses an event that exceeds its user's rate. The refusal takes the event's place among
/// the others, so that answers keep their order.
fn check_rate(client: &Client, event: Event) -> Result<Event, Failure> {
    if !event.counts_against_rate() {
        return Ok(event);
    }
    let rates = &client.gateway.rates;
    match rates.check_event(&client.identity().user.id) {
        Ok(()) => Ok(event),
        Err(RetryAfter(wait)) => {
            count_refusal(client, Limit::MessageRate);
            Err(Failure::too_many_per_second(wait))
        }
    }
}

fn count_refusal(client: &Client, limit: Limit) {
    let refusals = &client.gateway.refusals;
    refusals.count(limit, client.session.client_address());
}

/// Ends a connection whose client has disconnected: nothing is sent any more. What arrived
/// before is still carried out.
pub(super) fn close(client: &Arc<Client>) {
    client.outbox().close();
    leave_all_rooms(client);
}

/// Ends a connection whose token has expired: the client receives an error, is disconnected
/// from the namespace, and its transport is closed. What has begun is finished.
pub(crate) fn expire(client: &Arc<Client>) {
    end(
        client,
        DisconnectReason::TokenExpired,
        Request::default().failure(&Failure::token_expired()),
    );
}

/// Ends a connection whose token is revoked, like one [whose token has expired](expire).
pub(crate) fn revoke(client: &Arc<Client>) {
    end(
        client,
        DisconnectReason::TokenRevoked,
        Request::default().failure(&Failure::token_revoked()),
    );
}

/// Ends a connection at the operator's request: the client is disconnected from the
/// namespace, so that the standard client does not reconnect by itself, and its transport is
/// closed. What has begun is finished.
pub(crate) fn disconnect(client: &Arc<Client>) {
    end(client, DisconnectReason::Kicked, []);
}

/// Ends a user's clients. If they are many, a few at a time, so that the others are served
/// meanwhile and each receives its last packets before its transport is closed.
pub(crate) fn end_all(clients: Vec<Arc<Client>>, end: fn(&Arc<Client>)) {
    let first = clients.len().min(ENDED_AT_ONCE);
    clients[..first].iter().for_each(end);
    if first == clients.len() {
        return;
    }
    let tasks = clients[first].gateway.tasks.clone();
    tasks.spawn(async move {
        let mut chunks = clients.chunks(ENDED_AT_ONCE);
        let mut ending = chunks.next().unwrap_or_default();
        for next in chunks {
            let flushed = async {
                for client in ending {
                    client.outbox().flushed().await;
                }
            };
            tokio::time::timeout(ENDING_INTERVAL, flushed).await.ok();
            next.iter().for_each(end);
            ending = next;
        }
    });
}

/// Sends the last packets, disconnects the client from the namespace, and closes its
/// transport.
fn end(client: &Arc<Client>, reason: DisconnectReason, last: impl IntoIterator<Item = Bytes>) {
    client.gateway.metrics.forced_disconnect(reason);
    for asked in client.inbox.clear() {
        client.session.finished(asked.packet.bytes);
    }
    leave_all_rooms(client);
    client.send(last.into_iter().chain([packet::disconnect()]));
    let session = client.session.clone();
    let tasks = &client.gateway.tasks;
    tasks.spawn(async move { session.end_when_flushed().await });
}

fn leave_all_rooms(client: &Arc<Client>) {
    let pushed = client.inbox.close(Command::LeaveAllRooms);
    start_if_needed(client, pushed);
}

fn start_if_needed(client: &Arc<Client>, pushed: Pushed) {
    if pushed == Pushed::MustBeServed {
        client.gateway.tasks.spawn(serve(client.clone()));
    }
}

/// Carries events and commands out until there are none.
async fn serve(client: Arc<Client>) {
    let mut membership = std::mem::take(&mut *lock(&client.membership));
    let mut next = None;
    loop {
        let Some(arrival) = next.take().or_else(|| client.inbox.take()) else {
            *lock(&client.membership) = std::mem::take(&mut membership);
            match client.inbox.rest() {
                Rest::No => {}
                Rest::Yes => return,
            }
            membership = std::mem::take(&mut *lock(&client.membership));
            continue;
        };
        match arrival {
            Arrival::Event(asked) => {
                // The answers to earlier events must not pile up.
                client.outbox().uncongested().await;
                next = carry_out(&client, &mut membership, asked).await;
            }
            Arrival::Command(Command::LeaveAllRooms) => {
                let leave_room = &client.gateway.leave_room;
                leave_room.execute_for_all(client.id(), &mut membership);
                client.gateway.watchers.unwatch(client.id());
                client.gateway.presence.unwatch(client.id());
                client.disappear();
            }
        }
    }
}

/// Carries an event out; returns what arrived meanwhile and has to be next.
async fn carry_out(client: &Client, membership: &mut Membership, asked: Asked) -> Option<Arrival> {
    let Asked {
        request,
        outcome,
        packet,
    } = asked;
    client.exclusions.apply(membership);
    match outcome {
        Ok(Event::SendMessage(sent)) => {
            let first = Outgoing::new(request, sent, packet);
            return sending::send_together(client, membership, first).await;
        }
        outcome => {
            let slot = Slot::of(client);
            let identity = client.identity();
            let handled = async {
                let context = context(client, &identity, &request, &packet, &slot);
                outcome?.handle(context, membership).await
            };
            let outcome = run(&packet, handled).await;
            finish(client, &request, &packet, &slot, outcome);
        }
    }
    None
}

pub(super) async fn next_arrival(client: &Client) -> Arrival {
    client.outbox().uncongested().await;
    poll_fn(|cx| client.inbox.poll_take(cx)).await
}

pub(super) fn context<'a>(
    client: &'a Client,
    identity: &'a Identity,
    request: &'a Request,
    packet: &Packet,
    slot: &'a Slot<'a>,
) -> Context<'a> {
    Context {
        gateway: &client.gateway,
        client,
        identity,
        client_address: client.session.client_address(),
        outbox: client.outbox(),
        request,
        slot,
        arrived: packet.arrived,
    }
}

/// Runs a handler to its end.
pub(super) async fn run<T>(
    packet: &Packet,
    handled: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    // A panic is the fault of one event. It must not end the task, after which the
    // connection would never be answered again.
    AssertUnwindSafe(handled.instrument(packet.span.clone()))
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
}

/// Notes that an event is done, and answers if it failed.
pub(super) fn finish(
    client: &Client,
    request: &Request,
    packet: &Packet,
    slot: &Slot<'_>,
    outcome: Result<(), Failure>,
) {
    slot.release();
    count(client, request, packet, outcome.as_ref().map(|_| ()));
    if let Err(failure) = outcome {
        client.send(request.failure(&failure));
    }
    client.inbox.done();
    client.session.finished(packet.bytes);
}
