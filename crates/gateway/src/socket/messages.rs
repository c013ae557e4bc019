//! The handlers of `sendMessage`, `listMessages` and `markRead`.

use chat_domain::use_cases::{Attempt, PageLimit, PageStart, SendMessageError, SentMessage};
use chat_domain::{Access, Caller, Membership, RoomId, Seq};

use super::context::Context;
use super::objects::MarkReadAck;
use super::reply::Failure;

/// Whether a message was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Yes,
    /// It has to be sent again, with a permit that is read again.
    NotYet(Attempt),
}

pub(super) async fn send(
    context: Context<'_>,
    access: Access,
    sent: SentMessage,
    attempt: Attempt,
) -> Result<Answered, Failure> {
    let gateway = context.gateway;
    context.require_visible(access, sent.room_id).await?;
    let caller = Caller {
        user: &context.identity.user,
        access,
    };
    let stored = || gateway.metrics.committed(context.arrived);
    let sending = gateway.send_message.execute(caller, sent, attempt, stored);
    match sending.await {
        Ok(message) => context.send(context.request.stored(&message)),
        Err(SendMessageError::Outdated { has_turn }) => {
            return Ok(Answered::NotYet(Attempt::Again { has_turn }));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Answered::Yes)
}

pub(super) async fn list(
    context: Context<'_>,
    membership: &Membership,
    room_id: RoomId,
    start: PageStart,
    limit: PageLimit,
) -> Result<(), Failure> {
    let list_messages = &context.gateway.list_messages;
    let caller = context.caller(membership, room_id).await?;
    let reader = Some(&caller.user.id);
    let page = list_messages
        .execute(caller.access, reader, room_id, start, limit)
        .await?;
    context.send_from_room(room_id, context.request.page(&page))
}

pub(super) async fn mark_read(
    context: Context<'_>,
    membership: &Membership,
    room_id: RoomId,
    seq: Seq,
) -> Result<(), Failure> {
    let caller = context.caller(membership, room_id).await?;
    let state = context
        .gateway
        .mark_read
        .execute(caller, room_id, seq)
        .await?;
    let answer = MarkReadAck::new(room_id, state);
    context.send_from_room(room_id, context.request.success(&answer))
}
