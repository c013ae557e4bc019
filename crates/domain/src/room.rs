//! What changes in a room, how far a user has read it, and which rooms a connection has
//! joined.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{RoomId, Seq, StoredMessage, User, UserId};

/// A change in a room. A new kind of change is a new variant here, not a new path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEntry {
    /// A message was stored.
    Message(Arc<StoredMessage>),
    /// A user's read pointer moved.
    ReadPointer {
        /// The user.
        user_id: UserId,
        /// The pointer's new position.
        seq: Seq,
    },
}

/// How far a room has come, and how far one user has read it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ReadState {
    /// The room's newest stored position; [`Seq::START`] without messages.
    pub newest: Seq,
    /// The user's read pointer. It is never beyond the newest position and never moves
    /// back.
    pub read: Seq,
}

impl ReadState {
    /// Returns the number of unread messages: a difference of positions.
    pub fn unread(&self) -> u64 {
        self.newest.since(self.read)
    }
}

/// The rooms that one connection has joined. Another connection of the same user has a
/// membership of its own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Membership {
    joined: BTreeSet<RoomId>,
}

impl Membership {
    /// Records that the connection has joined the room.
    pub fn join(&mut self, room: RoomId) {
        self.joined.insert(room);
    }

    /// Records that the connection has left the room.
    pub fn leave(&mut self, room: RoomId) {
        self.joined.remove(&room);
    }

    /// Returns whether the connection has joined the room.
    pub fn has_joined(&self, room: RoomId) -> bool {
        self.joined.contains(&room)
    }

    /// Returns all rooms that the connection has joined.
    pub fn iter(&self) -> impl Iterator<Item = RoomId> + '_ {
        self.joined.iter().copied()
    }
}

/// What a caller may do in one room. [`Identity::access`](crate::Identity::access) decides it
/// from the token and the connection's [`Membership`] alone, so that a room which the user may
/// not see is told apart from no other, by no answer and by no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It has joined the room: it may read, write and mark as read.
    Joined,
    /// It may join the room, has not done so, and may do nothing there.
    NotJoined,
    /// To it, the room does not exist.
    NotFound,
}

/// The caller of a use case that concerns one room.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The user on whose behalf it acts.
    pub user: &'a User,
    /// What it may do in the room.
    pub access: Access,
}

/// The error for a caller that may not do this in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessDenied {
    /// The room does not exist for this user, whatever the reason.
    #[error("room not found")]
    NotFound,
    /// The caller has not joined the room.
    #[error("join the room first")]
    NotInRoom,
}

impl Access {
    /// Checks that the caller has joined the room.
    ///
    /// # Errors
    /// [`AccessDenied`].
    pub fn require_joined(self) -> Result<(), AccessDenied> {
        match self {
            Self::Joined => Ok(()),
            Self::NotJoined => Err(AccessDenied::NotInRoom),
            Self::NotFound => Err(AccessDenied::NotFound),
        }
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
        assert!(membership.has_joined(one));
        assert!(!membership.has_joined(two));
        membership.leave(one);
        membership.leave(one);
        assert!(!membership.has_joined(one));
        assert_eq!(membership.iter().count(), 0);
    }
}
