//! The handlers of the events about a room's rules and members.

use std::sync::Arc;

use chat_domain::ports::{Changed, Hint};
use chat_domain::use_cases::{Actor, PageLimit, RulesRequest};
use chat_domain::{ChangeSubject, Membership, RoomEntry, RoomId, RoomKind, StoredChange, UserId};

use super::context::Context;
use super::objects::{
    MemberAck, MemberChanged, MemberObject, MembersAck, RoomAck, RoomChanged, RoomObject, json,
};
use super::reply::Failure;
use crate::rules::{self, Concerned};

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
    if changed.has_changed {
        // Nothing reaches an excluded connection of this node after the acknowledgement.
        if let Some(concerned) = concerned(&request, &changed) {
            rules::apply(gateway, &client.clients, room_id, concerned).await;
        }
        client.exclusions.apply(membership);
        announce(&context, room_id, &request, &changed);
    }
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

/// Returns the users whom a change may exclude.
fn concerned(request: &RulesRequest, changed: &Changed) -> Option<Concerned> {
    match request {
        RulesRequest::User { user_id, .. } => Some(Concerned::user(user_id)),
        RulesRequest::Settings(_) => match changed.settings.rules.kind {
            RoomKind::Open => None,
            RoomKind::Private => Some(Concerned::Everyone),
        },
    }
}

fn announce(context: &Context<'_>, room_id: RoomId, request: &RulesRequest, changed: &Changed) {
    let by = Some(&context.identity.user.id);
    let change = match request {
        RulesRequest::Settings(_) => {
            let event = RoomChanged::new(room_id, &changed.settings);
            StoredChange::new(ChangeSubject::Room, json(&event))
        }
        RulesRequest::User { user_id, .. } => {
            let member = MemberObject::of_change(user_id, changed);
            let event = MemberChanged::new(room_id, member, by);
            StoredChange::new(ChangeSubject::Member(user_id.clone()), json(&event))
        }
    };
    context.gateway.events.announce(Hint {
        room_id,
        entry: RoomEntry::Rules {
            number: changed.rules,
            change: Arc::new(change),
        },
    });
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
