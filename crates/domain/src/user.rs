//! Users, and what a verified token states about a connection.

use std::collections::BTreeSet;

use crate::{Access, Grants, Membership, Role, RoomId, Timestamp, UserId};

/// A user as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id in the product's tokens.
    pub id: UserId,
    /// The display name.
    pub name: DisplayName,
}

/// The name that other users see, at most [`DisplayName::MAX_CHARS`] characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(Box<str>);

/// The error for a text that is not a valid [`DisplayName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have 1 to {} characters and must not contain NUL",
    DisplayName::MAX_CHARS
)]
pub struct InvalidDisplayName;

impl DisplayName {
    /// The maximum number of characters.
    pub const MAX_CHARS: usize = 255;

    /// Creates a name from any text: removes NUL (which PostgreSQL's text type cannot
    /// store) and truncates at the limit. An unusual name never prevents a user from
    /// writing.
    pub fn from_text(text: &str) -> Self {
        let kept = text.chars().filter(|&c| c != '\0').take(Self::MAX_CHARS);
        Self(kept.collect::<String>().into())
    }

    /// Creates a name from a text that the product states as one.
    ///
    /// # Errors
    /// [`InvalidDisplayName`] if it is empty, too long or contains NUL.
    pub fn new(text: &str) -> Result<Self, InvalidDisplayName> {
        let chars = text.chars().count();
        match (1..=Self::MAX_CHARS).contains(&chars) && !text.contains('\0') {
            true => Ok(Self(text.into())),
            false => Err(InvalidDisplayName),
        }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The rooms that a token allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RoomAccess {
    /// Every room.
    All,
    /// Only these.
    Only(BTreeSet<RoomId>),
}

/// Whether others see what a user does at this moment: whether it is online, in a room, typing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Visibility {
    /// They do.
    #[default]
    Visible,
    /// They do not.
    Invisible,
}

/// What a verified token states about a connection, until it expires or is renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: User,
    /// The rooms that the user may join.
    pub rooms: RoomAccess,
    /// Whether others see what the user does: its claim `invisible`.
    pub visibility: Visibility,
    /// When the token was issued: its `iat`. `None` if it does not state that.
    pub issued_at: Option<Timestamp>,
    /// When the token expires: its `exp`.
    pub expires_at: Timestamp,
    /// Until when it is accepted: its `exp` plus the leeway.
    pub valid_until: Timestamp,
    /// What the access hook grants, which decides where the user has no membership. `None`: there
    /// is no access hook.
    pub grants: Option<Grants>,
}

impl Identity {
    /// Returns whether the token allows this room.
    pub fn may_join(&self, room: RoomId) -> bool {
        match &self.rooms {
            RoomAccess::All => true,
            RoomAccess::Only(rooms) => rooms.contains(&room),
        }
    }

    /// Returns the role that the access hook has granted in a room.
    pub fn granted(&self, room: RoomId) -> Option<Role> {
        self.grants.as_ref().and_then(|grants| grants.role(room))
    }

    /// Ends what the access hook has granted in a room, which the connection has left or in which
    /// its user has membership.
    pub fn end_grant(&self, room: RoomId) {
        if let Some(grants) = &self.grants {
            grants.end(room);
        }
    }

    /// Returns whether the token was issued before a time, or does not state when it was issued.
    ///
    /// Most tokens state whole seconds, rounded down. One that was issued at that time or later
    /// within the same second therefore counts as issued before it, so that none of those that
    /// were is missed.
    pub fn was_issued_before(&self, time: Timestamp) -> bool {
        self.issued_at.is_none_or(|issued_at| issued_at < time)
    }

    /// Decides what a connection with this identity may do in the room.
    pub fn access(&self, membership: &Membership, room: RoomId) -> Access {
        match (self.may_join(room), membership.permit(room)) {
            (false, _) => Access::NotFound,
            (true, None) => Access::NotJoined,
            (true, Some(permit)) => Access::Joined(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Permit;

    #[test]
    fn a_room_that_the_token_does_not_allow_does_not_exist_even_if_it_was_joined() {
        let [joined, other, lost, hidden] = [1, 2, 3, 4].map(|n| RoomId::new(n).unwrap());
        let mut membership = Membership::default();
        membership.join(joined, Permit::OPEN);
        membership.join(lost, Permit::OPEN);
        let identity = Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms: RoomAccess::Only([joined, other].into()),
            visibility: crate::Visibility::Visible,
            issued_at: None,
            expires_at: Timestamp::from_unix_millis(0),
            valid_until: Timestamp::from_unix_millis(0),
            grants: None,
        };
        for (room, access) in [
            (joined, Access::Joined(Permit::OPEN)),
            (other, Access::NotJoined),
            (lost, Access::NotFound),
            (hidden, Access::NotFound),
        ] {
            assert_eq!(identity.access(&membership, room), access, "{room}");
        }
    }

    #[test]
    fn a_name_is_truncated_rather_than_refused() {
        assert_eq!(DisplayName::from_text("A\0da").as_str(), "Ada");
        let long = "é".repeat(300);
        assert_eq!(DisplayName::from_text(&long).as_str().chars().count(), 255);
    }
}
