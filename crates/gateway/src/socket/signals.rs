//! The handlers of the events about what users do at this moment.

use chat_domain::use_cases::{Attempt, SetTypingError};
use chat_domain::{AccessDenied, Action, Membership, RoomId, UserId};

use super::context::Context;
use super::objects::{PresentAck, TypingAck, WatchedUsersAck};
use super::reply::Failure;

pub(super) async fn set_typing(
    context: Context<'_>,
    membership: &mut Membership,
    room_id: RoomId,
    typing: bool,
) -> Result<(), Failure> {
    let (gateway, client) = (context.gateway, context.client);
    let place = (room_id, client.id());
    for attempt in [Attempt::First, Attempt::Again { has_turn: false }] {
        let caller = context.caller(membership, room_id).await?;
        let visibility = context.identity.visibility;
        let set = gateway
            .set_typing
            .execute(caller, visibility, place, typing, attempt);
        match set {
            Err(SetTypingError::Outdated) => {}
            outcome => {
                outcome?;
                let answer = TypingAck::new(room_id, typing);
                return context.send_from_room(room_id, context.request.success(&answer));
            }
        }
        client.exclusions.apply(membership);
        if membership.has_joined(room_id) {
            let permit = gateway.permits.read(context.identity, room_id).await;
            let permit = permit.map_err(|error| Failure::not_determined(&error))?;
            membership.renew(room_id, permit);
        }
    }
    Err(Failure::from(&AccessDenied::NotInRoom))
}

pub(super) async fn list_present(
    context: Context<'_>,
    membership: &Membership,
    room_id: RoomId,
) -> Result<(), Failure> {
    let access = context.caller(membership, room_id).await?.access;
    let permit = access.require_joined();
    let may_read = permit.and_then(|permit| permit.decide(Action::Read));
    may_read.map_err(|denied| Failure::from(&denied))?;
    let present = context.gateway.presence.in_room(room_id).await;
    let answer = PresentAck::new(&present);
    context.send_from_room(room_id, context.request.success(&answer))
}

pub(super) async fn watch_users(
    context: Context<'_>,
    user_ids: Vec<UserId>,
) -> Result<(), Failure> {
    let presence = &context.gateway.presence;
    let identity = context.client.identity();
    let watching = presence.watch(context.outbox, &identity, user_ids, |states| {
        let answer = WatchedUsersAck::new(&states);
        context.send(context.request.success(&answer));
    });
    let watched = watching.await;
    watched.map_err(|error| Failure::not_determined(&error))
}
