//! The handlers of `joinRoom` and `leaveRoom`.

use chat_delivery::{NotAdmitted, Recipient as _};
use chat_domain::use_cases::JoinRoomError;
use chat_domain::{Membership, Rev, RoomId, Seq, StorageError};

use super::context::Context;
use super::objects::{JoinedRoom, LeftRoom};
use super::packet;
use super::reply::Failure;
use crate::refusals::Limit;
use crate::rules;

/// How often a join is decided again because the connection was excluded, or the room was
/// deleted, meanwhile.
const ATTEMPTS: usize = 5;

pub(super) async fn join(
    context: Context<'_>,
    membership: &mut Membership,
    room_id: RoomId,
    after: Option<Seq>,
    after_rev: Option<Rev>,
) -> Result<(), Failure> {
    let outcome = try_to_join(context, membership, room_id, after, after_rev).await;
    if !membership.has_joined(room_id) {
        context.identity.end_grant(room_id);
    }
    outcome
}

async fn try_to_join(
    context: Context<'_>,
    membership: &mut Membership,
    room_id: RoomId,
    after: Option<Seq>,
    after_rev: Option<Rev>,
) -> Result<(), Failure> {
    let gateway = context.gateway;
    let max_rooms = gateway.limits.max_rooms;
    let is_joined = membership.has_joined(room_id);
    if max_rooms != 0 && !is_joined && membership.iter().count() >= max_rooms {
        gateway.refusals.count(Limit::Rooms, context.client_address);
        return Err(Failure::too_many_rooms(max_rooms));
    }
    for _ in 0..ATTEMPTS {
        let joining = gateway
            .join_room
            .execute(context.identity, room_id, after, after_rev, || {
                gateway.rooms.open(room_id, context.outbox)
            })
            .await;
        if let Err(JoinRoomError::NotGranted) = joining {
            leave_denied(context, membership, room_id);
        }
        let (entrance, joining) = joining?;
        let read = joining.state.read;
        let welcome = |admission| {
            context.slot.release();
            let joined = JoinedRoom::new(room_id, admission, read);
            let event = packet::event("joinedRoom", &joined);
            packet::join(std::iter::once(event).chain(context.request.success(&joined)))
        };
        match entrance.admit(membership, joining, welcome).await {
            // A client that has disconnected meanwhile needs no answer.
            Ok(()) | Err(NotAdmitted::Gone(_)) => return Ok(()),
            Err(NotAdmitted::Excluded | NotAdmitted::Outdated) => {
                let client = context.client;
                rules::exclude_from_closed(gateway, &client.clients, room_id);
                client.exclusions.apply(membership);
            }
        }
    }
    let reason = "the room's rules change without pause";
    Err(JoinRoomError::Storage(StorageError::unavailable(reason)).into())
}

/// Leaves a room, if the connection is in it, that the access hook denies now: as if the user had
/// been removed.
fn leave_denied(context: Context<'_>, membership: &mut Membership, room_id: RoomId) {
    let exclusions = &context.client.exclusions;
    let farewell = packet::event("leftRoom", &LeftRoom::removed(room_id));
    exclusions.add(room_id, || {
        let rooms = &context.gateway.rooms;
        rooms.exclude(room_id, context.client.id(), farewell)
    });
    exclusions.apply(membership);
}

pub(super) fn leave(context: Context<'_>, membership: &mut Membership, room_id: RoomId) {
    let leave_room = &context.gateway.leave_room;
    leave_room.execute(context.outbox.id(), membership, room_id);
    context.identity.end_grant(room_id);
    let left = LeftRoom::new(room_id);
    let event = packet::event("leftRoom", &left);
    context.send(std::iter::once(event).chain(context.request.success(&left)));
}
