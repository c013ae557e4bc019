//! The handlers of the events about changes to messages.

use chat_domain::use_cases::{Attempt, ChangeMessageError, PageLimit, UserEdit};
use chat_domain::{Membership, ReactionKey, Rev, RoomId, Seq, UserId};

use super::context::Context;
use super::objects::ReactionsAck;
use super::reply::Failure;

/// How often a change is decided again because the rules change meanwhile.
const ATTEMPTS: usize = 5;

pub(super) async fn change(
    context: Context<'_>,
    membership: &mut Membership,
    room_id: RoomId,
    seq: Seq,
    edit: UserEdit,
) -> Result<(), Failure> {
    let (gateway, client) = (context.gateway, context.client);
    let mut attempt = Attempt::First;
    for _ in 0..=ATTEMPTS {
        let caller = context.caller(membership, room_id).await?;
        let changing = gateway
            .change_message
            .execute(caller, room_id, seq, edit.clone(), attempt);
        match changing.await {
            Err(ChangeMessageError::Outdated) => {}
            outcome => {
                let answer = context.request.stored(&outcome?);
                return context.send_from_room(room_id, answer);
            }
        }
        client.exclusions.apply(membership);
        if membership.has_joined(room_id) {
            let permit = gateway.permits.read(context.identity, room_id).await;
            membership.renew(room_id, permit.map_err(ChangeMessageError::Storage)?);
        }
        attempt = Attempt::Again { has_turn: false };
    }
    Err(ChangeMessageError::Outdated.into())
}

pub(super) async fn list_reactions(
    context: Context<'_>,
    membership: &Membership,
    room_id: RoomId,
    (seq, key): (Seq, ReactionKey),
    after: Option<UserId>,
    limit: PageLimit,
) -> Result<(), Failure> {
    let access = context.caller(membership, room_id).await?.access;
    let list_reactions = &context.gateway.list_reactions;
    let found = list_reactions
        .execute(access, room_id, seq, key, after, limit)
        .await?;
    let answer = ReactionsAck::new(&found);
    context.send_from_room(room_id, context.request.success(&answer))
}

pub(super) async fn list_changes(
    context: Context<'_>,
    membership: &Membership,
    room_id: RoomId,
    after: Rev,
    limit: PageLimit,
) -> Result<(), Failure> {
    let caller = context.caller(membership, room_id).await?;
    let reader = Some(&caller.user.id);
    let list_changes = &context.gateway.list_changes;
    let read = list_changes
        .execute(caller.access, reader, room_id, after, limit)
        .await?;
    context.send_from_room(room_id, context.request.page(&read.page))
}
