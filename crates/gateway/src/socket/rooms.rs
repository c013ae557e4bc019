//! The handlers of `joinRoom` and `leaveRoom`.

use std::sync::Arc;

use chat_domain::{Membership, RoomId, Seq};

use super::connection::Connection;
use super::objects::{JoinedRoom, LeftRoom};
use super::packet::Packet;
use super::reply::{Failure, Request};
use crate::gateway::Gateway;

/// The most messages that are replayed; who missed more pages through them.
const REPLAY_LIMIT: u64 = 1000;

pub(super) async fn join(
    connection: &Arc<Connection>,
    gateway: &Gateway,
    membership: &mut Membership,
    request: &Request,
    room_id: RoomId,
    after: Option<Seq>,
) -> Result<(), Failure> {
    let entrance = gateway.rooms.open(room_id);
    let standing = gateway
        .join_room
        .execute(&connection.identity, room_id)
        .await?;
    let missed = after.map_or(0, |after| standing.newest.since(after));
    let missed_after = after.filter(|_| missed > REPLAY_LIMIT);
    let welcome = |seam| {
        let joined = JoinedRoom::new(room_id, seam, standing.read, missed_after);
        let event = Packet::event("joinedRoom", &joined);
        std::iter::once(event).chain(request.success(&joined))
    };
    match after {
        Some(after) if missed <= REPLAY_LIMIT => {
            // Also when nothing was missed: something may be shown before it is let in.
            let after = after.min(standing.newest);
            // Joining again is leaving and joining: nothing live comes in between.
            gateway.rooms.leave(room_id, connection.id);
            membership.leave(room_id);
            entrance
                .replay(connection, standing.newest, after, welcome)
                .await?;
        }
        _ => entrance.enter(connection, standing.newest, welcome),
    }
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
    let event = Packet::event("leftRoom", &left);
    connection.send(std::iter::once(event).chain(request.success(&left)));
}
