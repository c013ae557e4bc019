//! The handlers of `sendMessage`, `listMessages` and `markRead`.

use chat_domain::use_cases::{PageLimit, PageStart, SentMessage};
use chat_domain::{Membership, RoomId, Seq};

use super::context::Context;
use super::objects::MarkReadAck;
use super::reply::Failure;

pub(super) async fn send(
    context: Context<'_>,
    membership: &Membership,
    sent: SentMessage,
) -> Result<(), Failure> {
    let caller = context.caller(membership, sent.room_id);
    let gateway = context.gateway;
    let stored = || gateway.metrics.committed(context.arrived);
    let message = gateway.send_message.execute(caller, sent, stored).await?;
    context.send(context.request.stored(&message));
    Ok(())
}

pub(super) async fn list(
    context: Context<'_>,
    membership: &Membership,
    room_id: RoomId,
    start: PageStart,
    limit: PageLimit,
) -> Result<(), Failure> {
    let list_messages = &context.gateway.list_messages;
    let access = context.caller(membership, room_id).access;
    let page = list_messages.execute(access, room_id, start, limit).await?;
    context.send(context.request.page(&page));
    Ok(())
}

pub(super) async fn mark_read(
    context: Context<'_>,
    membership: &Membership,
    room_id: RoomId,
    seq: Seq,
) -> Result<(), Failure> {
    let caller = context.caller(membership, room_id);
    let state = context
        .gateway
        .mark_read
        .execute(caller, room_id, seq)
        .await?;
    let answer = MarkReadAck::new(room_id, state);
    context.send(context.request.success(&answer));
    Ok(())
}
