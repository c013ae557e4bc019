//! How a client's messages are sent: many together, in their order.
//!
//! A message whose permit is outdated, because the room's rules have changed, is sent again once
//! all that were under way have ended. None that follows it overtakes it.

use chat_domain::use_cases::{Attempt, SendMessageError, SentMessage};
use chat_domain::{Membership, StorageError};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _, poll};

use super::Event;
use super::client::{Arrival, Asked, Client, Packet, Slot};
use super::messages::{self, Answered};
use super::reply::{Failure, Request};
use super::serving::{context, finish, next_arrival, run};

/// How often a message is sent again because the rules change meanwhile.
const ATTEMPTS: usize = 5;

/// A message on its way to the log.
pub(super) struct Outgoing {
    request: Request,
    sent: SentMessage,
    packet: Packet,
    attempt: Attempt,
    /// Its place among those that were sent together.
    place: usize,
}

impl Outgoing {
    pub(super) fn new(request: Request, sent: SentMessage, packet: Packet) -> Self {
        Self {
            request,
            sent,
            packet,
            attempt: Attempt::First,
            place: 0,
        }
    }

    /// Answers it.
    fn finish(&self, client: &Client, outcome: Result<(), Failure>) {
        let slot = Slot::of(client);
        finish(client, &self.request, &self.packet, &slot, outcome);
    }
}

/// Messages on their way; each becomes `None`, or itself if it has to be sent again.
type Sending<'a> = FuturesUnordered<BoxFuture<'a, Option<Outgoing>>>;

/// Sends messages as long as more arrive before the last one is stored. Ends when all are
/// answered, with the arrival that followed them, if there is one.
pub(super) async fn send_together(
    client: &Client,
    membership: &mut Membership,
    first: Outgoing,
) -> Option<Arrival> {
    let mut sending = Sending::new();
    let mut outdated = Vec::new();
    let mut next = Some(first);
    let mut count = 0;
    let last = loop {
        if let Some(mut outgoing) = next.take() {
            outgoing.place = count;
            count += 1;
            begin(client, membership, outgoing, &mut sending, &mut outdated).await;
            if !outdated.is_empty() {
                break None;
            }
        }
        let arrival = if sending.is_empty() {
            match client.inbox.take() {
                Some(arrival) => arrival,
                None => break None,
            }
        } else {
            tokio::select! {
                biased;
                Some(done) = sending.next() => match done {
                    None => continue,
                    Some(outgoing) => {
                        outdated.push(outgoing);
                        break None;
                    }
                },
                arrival = next_arrival(client) => arrival,
            }
        };
        match arrival {
            Arrival::Event(Asked {
                request,
                outcome: Ok(Event::SendMessage(sent)),
                packet,
            }) => next = Some(Outgoing::new(request, sent, packet)),
            other => break Some(other),
        }
    };
    drain(&mut sending, &mut outdated).await;
    send_again(client, membership, outdated).await;
    last
}

/// Lets a message take its place in the log, in its first turn. A reply takes its place only
/// after a read, which must find the messages before it, and no later message may overtake it: it
/// is sent alone.
async fn begin<'a>(
    client: &'a Client,
    membership: &Membership,
    mut outgoing: Outgoing,
    sending: &mut Sending<'a>,
    outdated: &mut Vec<Outgoing>,
) {
    let is_reply = outgoing.sent.reply_to().is_some();
    if is_reply {
        drain(sending, outdated).await;
        if !outdated.is_empty() {
            // It must not overtake them. Its permit is read together with theirs.
            if outgoing.attempt == Attempt::First {
                outgoing.attempt = Attempt::Again { has_turn: false };
            }
            outdated.push(outgoing);
            return;
        }
    }
    let identity = client.identity();
    let access = identity.access(membership, outgoing.sent.room_id);
    let mut sent = async move {
        let mut outgoing = outgoing;
        let Outgoing {
            request,
            packet,
            attempt,
            ..
        } = &outgoing;
        let slot = Slot::of(client);
        let context = context(client, &identity, request, packet, &slot);
        let message = outgoing.sent.clone();
        let outcome = run(packet, messages::send(context, access, message, *attempt)).await;
        match outcome {
            Ok(Answered::NotYet(attempt)) => {
                outgoing.attempt = attempt;
                return Some(outgoing);
            }
            Ok(Answered::Yes) => finish(client, request, packet, &slot, Ok(())),
            Err(failure) => finish(client, request, packet, &slot, Err(failure)),
        }
        None
    }
    .boxed();
    match poll!(&mut sent) {
        std::task::Poll::Ready(done) => outdated.extend(done),
        std::task::Poll::Pending => sending.push(sent),
    }
    if is_reply {
        drain(sending, outdated).await;
    }
}

/// Waits for the messages on their way.
async fn drain(sending: &mut Sending<'_>, outdated: &mut Vec<Outgoing>) {
    while let Some(done) = sending.next().await {
        outdated.extend(done);
    }
}

/// Sends messages again, by permits that are read for them.
async fn send_again(client: &Client, membership: &mut Membership, mut outdated: Vec<Outgoing>) {
    for _ in 0..ATTEMPTS {
        if outdated.is_empty() {
            return;
        }
        outdated.sort_unstable_by_key(|outgoing| outgoing.place);
        if let Err(error) = renew_permits(client, membership, &outdated).await {
            let failure = Failure::from(SendMessageError::Storage(error));
            for outgoing in outdated {
                outgoing.finish(client, Err(failure.clone()));
            }
            return;
        }
        let mut sending = Sending::new();
        let mut again = Vec::new();
        for outgoing in outdated {
            begin(client, membership, outgoing, &mut sending, &mut again).await;
        }
        drain(&mut sending, &mut again).await;
        outdated = again;
    }
    for outgoing in outdated {
        let failure = Failure::from(SendMessageError::Outdated { has_turn: false });
        outgoing.finish(client, Err(failure));
    }
}

/// Reads again what the user may do in the rooms of these messages.
async fn renew_permits(
    client: &Client,
    membership: &mut Membership,
    outdated: &[Outgoing],
) -> Result<(), StorageError> {
    client.exclusions.apply(membership);
    let identity = client.identity();
    let mut rooms: Vec<_> = outdated
        .iter()
        .map(|message| message.sent.room_id)
        .collect();
    rooms.sort_unstable();
    rooms.dedup();
    for room_id in rooms {
        if membership.has_joined(room_id) {
            let permit = client.gateway.permits.read(&identity, room_id).await?;
            membership.renew(room_id, permit);
        }
    }
    Ok(())
}
