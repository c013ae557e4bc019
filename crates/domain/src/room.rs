//! What one connection has joined.

use std::collections::BTreeSet;

use crate::RoomId;

/// The rooms that one connection is in. It lives and ends with the connection;
/// another connection of the same user has its own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Membership {
    joined: BTreeSet<RoomId>,
}

impl Membership {
    /// Notes that the connection is in the room.
    pub fn join(&mut self, room: RoomId) {
        self.joined.insert(room);
    }

    /// Notes that the connection is not in the room (any more).
    pub fn leave(&mut self, room: RoomId) {
        self.joined.remove(&room);
    }

    /// Whether the connection is in the room.
    pub fn contains(&self, room: RoomId) -> bool {
        self.joined.contains(&room)
    }

    /// All rooms that the connection is in.
    pub fn iter(&self) -> impl Iterator<Item = RoomId> + '_ {
        self.joined.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_joined_until_it_is_left() {
        let (one, two) = (RoomId::new(1).unwrap(), RoomId::new(2).unwrap());
        let mut membership = Membership::default();
        membership.join(one);
        membership.join(one);
        assert!(membership.contains(one) && !membership.contains(two));
        membership.leave(one);
        membership.leave(one);
        assert!(!membership.contains(one));
        assert_eq!(membership.iter().count(), 0);
    }
}
