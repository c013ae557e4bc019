//! What changes in a room, how far a user has read it, and which rooms a connection has
//! joined.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    Forbidden, Generation, Permit, Rev, RoomId, RulesNumber, Seq, StoredMessage, TypingSignal,
    User, UserId,
};

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
    /// A user is typing, or has stopped: nothing that is stored.
    Typing(Arc<TypingSignal>),
    /// The room's rules, roles, bans or mutes changed.
    Rules {
        /// The number of the rules after this change.
        number: RulesNumber,
        /// What changed.
        change: Arc<StoredChange>,
    },
    /// Messages have changed. What they are now is in the log.
    Changes {
        /// The number of the newest change.
        rev: Rev,
    },
    /// The room is being deleted, or was: what precedes the generation of the hint is gone.
    Closed,
}

/// A stored change of a room's rules in the form that clients receive. It is encoded once;
/// every member and other nodes share the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChange {
    subject: ChangeSubject,
    encoded: Box<str>,
}

/// What a change of a room's rules concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChangeSubject {
    /// The room's settings: clients receive `roomChanged`.
    Room,
    /// Where this user stands: clients receive `memberChanged`.
    Member(UserId),
}

impl StoredChange {
    /// Joins a change's subject and the JSON of the event's payload, for example as both
    /// arrived from another node.
    pub fn new(subject: ChangeSubject, encoded: Box<str>) -> Self {
        Self { subject, encoded }
    }

    /// Returns what the change concerns.
    pub fn subject(&self) -> &ChangeSubject {
        &self.subject
    }

    /// Returns the encoding.
    pub fn encoded(&self) -> &str {
        &self.encoded
    }
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

/// How far a room has come, how far one user has read it, and the number of its rules: all at
/// one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RoomState {
    /// How far the room has come, and how far the user has read it.
    pub read: ReadState,
    /// The number of the room's rules.
    pub rules: RulesNumber,
    /// The number of the newest change to a message.
    pub rev: Rev,
}

/// The rooms that one connection has joined, and what its user may do there. Another connection of the same user has a
/// membership of its own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Membership {
    joined: BTreeMap<RoomId, Permit>,
}

impl Membership {
    /// Records that the connection has joined the room, and what its user may do there.
    pub fn join(&mut self, room: RoomId, permit: Permit) {
        self.joined.insert(room, permit);
    }

    /// Records what the user may do from now on in a room that the connection has joined: nothing
    /// if the permit is of another generation than that which it joined.
    pub fn renew(&mut self, room: RoomId, permit: Permit) {
        if let Some(joined) = self.joined.get_mut(&room) {
            let generation = match permit.generation == joined.generation {
                true => permit.generation,
                false => Generation::new(u64::MAX),
            };
            *joined = Permit {
                generation,
                ..permit
            };
        }
    }

    /// Records that the connection has left the room.
    pub fn leave(&mut self, room: RoomId) {
        self.joined.remove(&room);
    }

    /// Returns whether the connection has joined the room.
    pub fn has_joined(&self, room: RoomId) -> bool {
        self.joined.contains_key(&room)
    }

    /// Returns what the user may do in the room, if the connection has joined it.
    pub fn permit(&self, room: RoomId) -> Option<Permit> {
        self.joined.get(&room).copied()
    }

    /// Returns all rooms that the connection has joined.
    pub fn iter(&self) -> impl Iterator<Item = RoomId> + '_ {
        self.joined.keys().copied()
    }
}

/// What a caller may do in one room. [`Identity::access`](crate::Identity::access) decides it
/// from the token and the connection's [`Membership`] alone, so that a room which the user may
/// not see is told apart from no other, by no answer and by no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It has joined the room, and may do there what the permit says.
    Joined(Permit),
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
    /// The caller may see the room, but may not do this there.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
}

impl Access {
    /// Returns what the caller, which must have joined the room, may do there.
    ///
    /// # Errors
    /// [`AccessDenied`].
    pub fn require_joined(self) -> Result<Permit, AccessDenied> {
        match self {
            Self::Joined(permit) => Ok(permit),
            Self::NotJoined => Err(AccessDenied::NotInRoom),
            Self::NotFound => Err(AccessDenied::NotFound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Permit};

    #[test]
    fn a_room_is_joined_until_it_is_left() {
        let (one, two) = (RoomId::new(1).unwrap(), RoomId::new(2).unwrap());
        let mut membership = Membership::default();
        membership.join(one, Permit::OPEN);
        membership.join(one, Permit::OPEN);
        assert!(membership.has_joined(one));
        assert!(!membership.has_joined(two));
        membership.leave(one);
        membership.leave(one);
        assert!(!membership.has_joined(one));
        assert_eq!(membership.iter().count(), 0);
    }

    #[test]
    fn a_permit_of_another_generation_allows_nothing_in_a_room_that_was_joined() {
        let room = RoomId::new(1).unwrap();
        let number = RulesNumber::new(9);
        let permit = |generation| Permit {
            number,
            generation: Generation::new(generation),
            ..Permit::OPEN
        };
        let mut membership = Membership::default();
        membership.renew(room, permit(7));
        assert!(!membership.has_joined(room));
        membership.join(room, permit(7));
        membership.renew(room, permit(7));
        assert_eq!(membership.permit(room), Some(permit(7)));
        membership.renew(room, permit(9));
        let denied = membership.permit(room).unwrap().decide(Action::Write);
        assert_eq!(denied, Err(AccessDenied::NotFound));
    }
}
