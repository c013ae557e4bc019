//! The handlers of the events about a room's rules and members.

use chat_domain::use_cases::{Actor, PageLimit, RulesRequest};
use chat_domain::{Membership, RoomId, UserId};

use super::context::Context;
use super::objects::{MemberAck, MemberObject, MembersAck, RoomAck, RoomObject};
use super::reply::Failure;
use crate::rules;

pub(super) async fn change(
    context: Context<'_>,
    membership: &mut Membership,
    room_id: RoomId,
    request: RulesRequest,
) -> Result<(), Failure> {
    let (gateway, client) = (context.gateway, context.client);
    let actor = Actor::User(context.identity);
    let changed = gateway
        .change_rules
        .execute(actor, room_id, &request)
        .await?;
    rules::changed(gateway, &client.clients, actor, room_id, &request, &changed).await;
    client.exclusions.apply(membership);
    let answer = match &request {
        RulesRequest::Settings(_) => {
            let room = RoomObject::of_settings(room_id, &changed.settings);
            context.request.success(&RoomAck::new(room))
        }
        RulesRequest::User { user_id, .. } => {
            let member = MemberObject::of_change(user_id, &changed);
            context.request.success(&MemberAck::new(member))
        }
    };
    context.send(answer);
    Ok(())
}

pub(super) async fn get_room(context: Context<'_>, room_id: RoomId) -> Result<(), Failure> {
    let get_room = &context.gateway.get_room;
    let room = get_room.execute(context.identity, room_id).await?;
    let answer = RoomAck::new(RoomObject::of_view(room_id, &room));
    context.send(context.request.success(&answer));
    Ok(())
}

pub(super) async fn list_members(
    context: Context<'_>,
    room_id: RoomId,
    after: Option<UserId>,
    limit: PageLimit,
) -> Result<(), Failure> {
    let list_members = &context.gateway.list_members;
    let page = list_members
        .execute(context.identity, room_id, after, limit)
        .await?;
    let answer = MembersAck::new(&page);
    context.send(context.request.success(&answer));
    Ok(())
}
