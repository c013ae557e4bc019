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
use chat_domain::Membership;
use chat_domain::use_cases::SentMessage;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _, poll};
use tracing::Instrument as _;

use super::client::{Arrival, Asked, Client, Command, Packet, Slot};
use super::context::Context;
use super::inbox::{Pushed, Refused, Rest};
use super::reply::{Failure, Request};
use super::{Event, messages, packet, protocol};
use crate::lock;
use crate::metrics::{DisconnectReason, EventName};
use crate::traces;

/// Takes an event in. Called in the reader's own turn: the order of these calls is the order
/// in which the events take effect.
pub(super) fn receive(client: &Arc<Client>, packet: &str, ack: Option<i64>) {
    let arrived = Instant::now();
    let received = protocol::read(packet, Event::parse);
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
        outcome: received.outcome,
        packet: Packet {
            bytes: packet.len(),
            arrived,
            span,
        },
    };
    client.session.took_in(packet.len());
    let (refused, failure) = match client.inbox.push(asked) {
        Ok(pushed) => return start_if_needed(client, pushed),
        Err(Refused::Full(asked)) => (asked, Failure::too_many_in_progress()),
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

/// Ends a connection at the operator's request: the client is disconnected from the
/// namespace, so that the standard client does not reconnect by itself, and its transport is
/// closed. What has begun is finished.
pub(crate) fn disconnect(client: &Arc<Client>) {
    end(client, DisconnectReason::Kicked, []);
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
    if let Ok(Event::SendMessage(sent)) = outcome {
        return send_together(client, membership, (request, sent, packet)).await;
    }
    let slot = Slot::of(client);
    let handled = async {
        let context = context(client, &request, &packet, &slot);
        outcome?.handle(context, membership).await
    };
    finish(client, &request, &packet, &slot, handled).await;
    None
}

/// Sends messages as long as more arrive before the last one is stored. Ends when all are
/// answered, with the arrival that followed them, if there is one.
async fn send_together(
    client: &Client,
    membership: &Membership,
    first: (Request, SentMessage, Packet),
) -> Option<Arrival> {
    let mut sending = FuturesUnordered::new();
    let mut next = Some(first);
    loop {
        if let Some((request, sent, packet)) = next.take() {
            let mut sent = Box::pin(async move {
                let slot = Slot::of(client);
                let context = context(client, &request, &packet, &slot);
                let sent = messages::send(context, membership, sent);
                finish(client, &request, &packet, &slot, sent).await;
            });
            // In its first turn it takes its place in the log.
            if poll!(&mut sent).is_pending() {
                sending.push(sent);
            }
        }
        let arrival = if sending.is_empty() {
            client.inbox.take()?
        } else {
            tokio::select! {
                biased;
                Some(()) = sending.next() => continue,
                arrival = next_arrival(client) => arrival,
            }
        };
        match arrival {
            Arrival::Event(Asked {
                request,
                outcome: Ok(Event::SendMessage(sent)),
                packet,
            }) => next = Some((request, sent, packet)),
            other => {
                while sending.next().await.is_some() {}
                return Some(other);
            }
        }
    }
}

async fn next_arrival(client: &Client) -> Arrival {
    client.outbox().uncongested().await;
    poll_fn(|cx| client.inbox.poll_take(cx)).await
}

fn context<'a>(
    client: &'a Client,
    request: &'a Request,
    packet: &Packet,
    slot: &'a Slot<'a>,
) -> Context<'a> {
    Context {
        gateway: &client.gateway,
        identity: &client.identity,
        outbox: client.outbox(),
        request,
        slot,
        arrived: packet.arrived,
    }
}

/// Runs a handler to its end, and answers if it failed.
async fn finish(
    client: &Client,
    request: &Request,
    packet: &Packet,
    slot: &Slot<'_>,
    handled: impl Future<Output = Result<(), Failure>>,
) {
    // A panic is the fault of one event. It must not end the task, after which the
    // connection would never be answered again.
    let outcome = AssertUnwindSafe(handled.instrument(packet.span.clone()))
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(Failure::panicked(&*panic)));
    slot.release();
    count(client, request, packet, outcome.as_ref().map(|_| ()));
    if let Err(failure) = outcome {
        client.send(request.failure(&failure));
    }
    client.inbox.done();
    client.session.finished(packet.bytes);
}
