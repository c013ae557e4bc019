//! The handlers of `joinRoom` and `leaveRoom`.

use std::sync::Arc;

use chat_domain::{Membership, RoomId};

use super::connection::Connection;
use super::outbox::Packet;
use super::protocol::{JoinedRoom, LeftRoom};
use super::reply::{Failure, Request, encode};
use crate::gateway::Gateway;

pub(super) async fn join(
    connection: &Arc<Connection>,
    gateway: &Gateway,
    membership: &mut Membership,
    request: &Request,
    room_id: RoomId,
) -> Result<(), Failure> {
    let entrance = gateway.rooms.open(room_id);
    let newest = gateway
        .join_room
        .execute(&connection.identity, room_id)
        .await?;
    entrance.enter(connection, newest, |seam| {
        let joined = JoinedRoom::new(room_id, seam);
        let event = Packet::Event("joinedRoom", encode(&joined));
        std::iter::once(event).chain(request.success(&joined))
    });
    membership.join(room_id);
    Ok(())
}

pub(super) fn leave(
    connection: &Connection,
    gateway: &Gateway,
    membership: &mut Membership,
    request: &Request,
    room_id: RoomId,
) {
    gateway.rooms.leave(room_id, connection.id);
    membership.leave(room_id);
    let left = LeftRoom::new(room_id);
    let event = Packet::Event("leftRoom", encode(&left));
    connection.send(std::iter::once(event).chain(request.success(&left)));
}
