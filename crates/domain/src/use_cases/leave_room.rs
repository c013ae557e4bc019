//! A connection leaves a room.

use std::sync::Arc;

use crate::{ConnectionId, Identity, Membership, RoomId, ports::RoomDelivery};

/// Ends a connection's stay in a room.
#[derive(Clone)]
pub struct LeaveRoom {
    delivery: Arc<dyn RoomDelivery>,
}

impl LeaveRoom {
    /// Creates the use case over this delivery.
    pub fn new(delivery: Arc<dyn RoomDelivery>) -> Self {
        Self { delivery }
    }

    /// Leaves the room. It succeeds even if the connection has not joined it. When it
    /// returns, nothing from the room reaches the connection any more.
    pub fn execute(&self, connection: ConnectionId, membership: &mut Membership, room_id: RoomId) {
        // Nothing is done in a room that the connection has not joined: it may not exist for it.
        if membership.has_joined(room_id) {
            self.delivery.leave(room_id, connection);
            membership.leave(room_id);
        }
    }

    /// Leaves the rooms that the identity does not allow, after it has changed. Returns them.
    /// From then on, nothing from them reaches the connection.
    pub fn execute_for_excluded(
        &self,
        connection: ConnectionId,
        membership: &mut Membership,
        identity: &Identity,
    ) -> Vec<RoomId> {
        let excluded = membership.iter().filter(|room| !identity.may_join(*room));
        let excluded: Vec<RoomId> = excluded.collect();
        for room_id in &excluded {
            self.execute(connection, membership, *room_id);
            identity.end_grant(*room_id);
        }
        excluded
    }

    /// Leaves every room, when the connection has ended.
    pub fn execute_for_all(&self, connection: ConnectionId, membership: &mut Membership) {
        for room_id in std::mem::take(membership).iter() {
            self.delivery.leave(room_id, connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use mockall::predicate::eq;

    use super::*;
    use crate::Permit;
    use crate::ports::MockRoomDelivery;
    use crate::{DisplayName, RoomAccess, Timestamp, User, UserId};

    fn room(number: u64) -> RoomId {
        RoomId::new(number).unwrap()
    }

    /// A connection that has joined two rooms, and the use case, which must end the delivery
    /// of the first one, once.
    fn member_who_leaves_the_first_room() -> (ConnectionId, Membership, LeaveRoom) {
        let id = ConnectionId::new(7);
        let mut delivery = MockRoomDelivery::new();
        let leave = delivery.expect_leave().with(eq(room(1)), eq(id));
        leave.once().return_const(());
        let mut membership = Membership::default();
        membership.join(room(1), Permit::OPEN);
        membership.join(room(2), Permit::OPEN);
        (id, membership, LeaveRoom::new(Arc::new(delivery)))
    }

    #[test]
    fn leaving_ends_delivery_and_membership_and_may_be_repeated() {
        let (id, mut membership, leave) = member_who_leaves_the_first_room();
        leave.execute(id, &mut membership, room(1));
        assert!(!membership.has_joined(room(1)));
        assert!(membership.has_joined(room(2)));
        leave.execute(id, &mut membership, room(1));
    }

    #[test]
    fn a_connection_leaves_the_rooms_that_its_new_identity_does_not_allow() {
        let (id, mut membership, leave) = member_who_leaves_the_first_room();
        let identity = Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms: RoomAccess::Only([room(2), room(3)].into()),
            visibility: crate::Visibility::Visible,
            issued_at: None,
            expires_at: Timestamp::from_unix_millis(0),
            valid_until: Timestamp::from_unix_millis(0),
            grants: None,
        };
        let left = leave.execute_for_excluded(id, &mut membership, &identity);
        assert_eq!(left, [room(1)]);
        assert_eq!(membership.iter().collect::<Vec<_>>(), [room(2)]);
    }

    #[test]
    fn a_connection_that_ended_leaves_every_room() {
        let mut delivery = MockRoomDelivery::new();
        delivery.expect_leave().times(2).return_const(());
        let leave = LeaveRoom::new(Arc::new(delivery));
        let mut membership = Membership::default();
        membership.join(room(1), Permit::OPEN);
        membership.join(room(2), Permit::OPEN);
        leave.execute_for_all(ConnectionId::new(7), &mut membership);
        assert_eq!(membership.iter().count(), 0);
    }
}
