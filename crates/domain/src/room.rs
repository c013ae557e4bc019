//! What one connection has joined, and how far a user has read.

use std::collections::BTreeSet;

use crate::{RoomId, Seq};

/// How far a room has come, and how far one user has read it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The room's newest stored position; [`Seq::START`] without messages.
    pub newest: Seq,
    /// The user's read pointer: never beyond the newest, and it never moves back.
    pub read: Seq,
}

impl Standing {
    /// How many messages the user has not read: a difference of numbers.
    pub fn unread(&self) -> u64 {
        self.newest.since(self.read)
    }
}

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
