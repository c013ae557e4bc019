//! Who somebody is, and what a token proved about it.

use std::collections::BTreeSet;

use crate::{RoomId, Timestamp, UserId};

/// A user as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id that the product's tokens carry.
    pub id: UserId,
    /// The display name.
    pub name: DisplayName,
}

/// The name that others see, at most [`DisplayName::MAX_CHARS`] characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(Box<str>);

impl DisplayName {
    /// The greatest number of characters.
    pub const MAX_CHARS: usize = 255;

    /// The name in this text: without NUL (which PostgreSQL's text cannot hold),
    /// cut at the limit. A name never keeps anybody from speaking.
    pub fn from_text(text: &str) -> Self {
        let kept = text.chars().filter(|&c| c != '\0').take(Self::MAX_CHARS);
        Self(kept.collect::<String>().into())
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which rooms a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomAccess {
    /// Every room.
    All,
    /// These and no other.
    Only(BTreeSet<RoomId>),
}

/// What a verified token proved about a connection, for its whole life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub user: User,
    /// Where it may go.
    pub rooms: RoomAccess,
    /// From this moment on the token proves nothing any more (its `exp`, plus the
    /// leeway).
    pub valid_until: Timestamp,
}

impl Identity {
    /// Whether this user may enter that room.
    pub fn may_enter(&self, room: RoomId) -> bool {
        match &self.rooms {
            RoomAccess::All => true,
            RoomAccess::Only(rooms) => rooms.contains(&room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_rather_than_refused() {
        assert_eq!(DisplayName::from_text("A\0da").as_str(), "Ada");
        let long = "é".repeat(300);
        assert_eq!(DisplayName::from_text(&long).as_str().chars().count(), 255);
    }
}
