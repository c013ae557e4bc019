//! Members of rooms, and what a product keeps with a room.

use crate::{DisplayName, Role, Timestamp, Until, User, UserId};

/// A user with membership of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user, under the latest stored name, or under its id if none is stored.
    pub user: User,
    /// Its role.
    pub role: Role,
    /// Until when it is muted.
    pub muted: Option<Until>,
    /// Since when it has membership.
    pub joined_at: Timestamp,
}

/// A room's name: 1 to [`RoomName::MAX_CHARS`] characters without NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomName(Box<str>);

/// The error for a text that is not a valid [`RoomName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have 1 to {} characters and must not contain NUL",
    RoomName::MAX_CHARS
)]
pub struct InvalidRoomName;

impl RoomName {
    /// The maximum number of characters.
    pub const MAX_CHARS: usize = 255;

    /// Creates a name.
    ///
    /// # Errors
    /// [`InvalidRoomName`].
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, InvalidRoomName> {
        let text = text.into();
        let chars = text.chars().count();
        match (1..=Self::MAX_CHARS).contains(&chars) && !text.contains('\0') {
            true => Ok(Self(text)),
            false => Err(InvalidRoomName),
        }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a user is banned or muted: 1 to [`Reason::MAX_CHARS`] characters without NUL. Only the
/// product sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(Box<str>);

/// The error for a text that is not a valid [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have 1 to {} characters and must not contain NUL",
    Reason::MAX_CHARS
)]
pub struct InvalidReason;

impl Reason {
    /// The maximum number of characters.
    pub const MAX_CHARS: usize = 500;

    /// Creates a reason.
    ///
    /// # Errors
    /// [`InvalidReason`].
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, InvalidReason> {
        let text = text.into();
        let chars = text.chars().count();
        match (1..=Self::MAX_CHARS).contains(&chars) && !text.contains('\0') {
            true => Ok(Self(text)),
            false => Err(InvalidReason),
        }
    }

    /// Returns the reason as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A ban or a mute, as it is imposed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sanction {
    /// For how long, by the database's clock; `None`: until it is lifted.
    pub seconds: Option<u32>,
    /// Why.
    pub reason: Option<Reason>,
}

impl Sanction {
    /// A sanction for this many seconds, or until it is lifted, without a reason.
    pub const fn lasting(seconds: Option<u32>) -> Self {
        Self {
            seconds,
            reason: None,
        }
    }
}

/// A user that the product adds to a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// The user.
    pub user_id: UserId,
    /// Its role from now on.
    pub role: Role,
    /// Its name, which becomes the latest stored one.
    pub name: Option<DisplayName>,
}

/// What a product keeps with a room: a JSON object of at most [`Metadata::MAX_BYTES`], which
/// only the product understands. The boundary checks that it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(Box<str>);

/// The error for metadata that is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have at most {} bytes", Metadata::MAX_BYTES)]
pub struct InvalidMetadata;

impl Metadata {
    /// The maximum number of bytes of its JSON.
    pub const MAX_BYTES: usize = 4096;

    /// Wraps a JSON object.
    ///
    /// # Errors
    /// [`InvalidMetadata`].
    pub fn new(json: impl Into<Box<str>>) -> Result<Self, InvalidMetadata> {
        let json = json.into();
        match json.len() <= Self::MAX_BYTES {
            true => Ok(Self(json)),
            false => Err(InvalidMetadata),
        }
    }

    /// Returns the JSON object.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self("{}".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_name_has_a_length() {
        assert!(RoomName::new("").is_err());
        assert!(RoomName::new("a\0").is_err());
        assert!(RoomName::new("é".repeat(255)).is_ok());
        assert!(RoomName::new("é".repeat(256)).is_err());
    }

    #[test]
    fn a_reason_has_a_length() {
        assert!(Reason::new("").is_err());
        assert!(Reason::new("a\0").is_err());
        assert!(Reason::new("é".repeat(500)).is_ok());
        assert!(Reason::new("é".repeat(501)).is_err());
    }

    #[test]
    fn metadata_has_a_size() {
        assert_eq!(Metadata::default().as_str(), "{}");
        let of_bytes = |count: usize| Metadata::new(" ".repeat(count));
        assert!(of_bytes(4096).is_ok());
        assert!(of_bytes(4097).is_err());
    }
}
