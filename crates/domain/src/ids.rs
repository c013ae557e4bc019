//! Identifiers of rooms, messages, users and connections.

use std::fmt;

/// The largest room and sequence number: 2^53 - 1, the largest integer that every
/// JSON parser, including JavaScript's, reads exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// A number that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an integer from {least} to {MAX_NUMBER}")]
pub struct InvalidNumber {
    least: u64,
}

fn in_range(value: u64, least: u64) -> Result<u64, InvalidNumber> {
    if (least..=MAX_NUMBER).contains(&value) {
        Ok(value)
    } else {
        Err(InvalidNumber { least })
    }
}

/// A room's number, from 1 to [`MAX_NUMBER`]. Every number names a room; the room is
/// created by its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(u64);

impl RoomId {
    /// Creates a room id.
    ///
    /// # Errors
    /// [`InvalidNumber`] for 0 and above [`MAX_NUMBER`].
    pub fn new(value: u64) -> Result<Self, InvalidNumber> {
        in_range(value, 1).map(Self)
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A position in a room's log. The first message has position 1; 0 is the position
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64);

impl Seq {
    /// The position before the first message: the newest position of an empty room.
    pub const START: Self = Self(0);

    /// Creates a position from 0 to [`MAX_NUMBER`].
    ///
    /// # Errors
    /// [`InvalidNumber`] above [`MAX_NUMBER`].
    pub fn new(value: u64) -> Result<Self, InvalidNumber> {
        in_range(value, 0).map(Self)
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Returns the number of positions after `earlier`, up to and including this one;
    /// 0 if `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the previous position, or [`Seq::START`] for the start itself.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Returns the next position.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A message's id, unique across all rooms. Unlike [`Seq`], it is neither contiguous
/// nor ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(i64);

impl MessageId {
    /// Wraps the id that the database assigned.
    pub fn new(value: i64) -> Self {
        Self(value)
    }

    /// Returns the number.
    pub fn get(self) -> i64 {
        self.0
    }
}

/// A user's id: the text of a token's `sub`, 1 to 255 bytes without NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Box<str>);

/// The error for a text that is not a valid [`UserId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 255 bytes and must not contain NUL")]
pub struct InvalidUserId;

impl UserId {
    /// Creates a user id.
    ///
    /// # Errors
    /// [`InvalidUserId`] if it is empty, longer than 255 bytes (it is part of database
    /// keys), or contains NUL (which PostgreSQL's text type cannot store).
    pub fn new(value: impl Into<Box<str>>) -> Result<Self, InvalidUserId> {
        let value = value.into();
        if value.is_empty() || value.len() > 255 || value.contains('\0') {
            return Err(InvalidUserId);
        }
        Ok(Self(value))
    }

    /// Returns the id that stands for every author who was erased.
    pub fn deleted() -> Self {
        Self("deleted".into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An id that the sender chose for a message, which makes sending idempotent: 1 to 64
/// characters of `A-Z a-z 0-9 - _ . :`, unique per user and room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientMessageId(Box<str>);

/// The error for a text that is not a valid [`ClientMessageId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 64 characters of A-Z a-z 0-9 - _ . :")]
pub struct InvalidClientMessageId;

impl ClientMessageId {
    /// Creates a client message id.
    ///
    /// # Errors
    /// [`InvalidClientMessageId`].
    pub fn new(value: impl Into<Box<str>>) -> Result<Self, InvalidClientMessageId> {
        let value = value.into();
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if value.is_empty() || value.len() > 64 || !value.bytes().all(is_allowed) {
            return Err(InvalidClientMessageId);
        }
        Ok(Self(value))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A client's connection to this process, unique for as long as the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Wraps a number that no other connection of this process has.
    pub fn new(value: u64) -> Self {
        Self(value)
    }
}

macro_rules! display {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display!(
    RoomId,
    Seq,
    MessageId,
    UserId,
    ClientMessageId,
    ConnectionId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_id_ranges_from_1_to_2_pow_53_minus_1() {
        assert!(RoomId::new(0).is_err());
        assert_eq!(RoomId::new(1).unwrap().get(), 1);
        assert_eq!(
            RoomId::new(9_007_199_254_740_991).unwrap().get(),
            MAX_NUMBER
        );
        assert_eq!(
            RoomId::new(9_007_199_254_740_992).unwrap_err().to_string(),
            "must be an integer from 1 to 9007199254740991"
        );
    }

    #[test]
    fn a_position_may_precede_the_first_message() {
        assert_eq!(Seq::new(0).unwrap(), Seq::START);
        assert_eq!(Seq::START.next().get(), 1);
        assert!(Seq::new(MAX_NUMBER + 1).is_err());
    }

    #[test]
    fn a_client_message_id_has_up_to_64_characters_of_a_fixed_set() {
        for id in ["a", "c0ffee-1", "A_z.9:-", &"x".repeat(64)] {
            assert_eq!(ClientMessageId::new(id).unwrap().as_str(), id);
        }
        for wrong in ["", "a b", "é", "a/b", "a\0", &"x".repeat(65)] {
            assert!(ClientMessageId::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_user_id_has_up_to_255_bytes_and_no_nul() {
        assert_eq!(UserId::new("42").unwrap().as_str(), "42");
        assert!(UserId::new("").is_err());
        assert!(UserId::new("a\0b").is_err());
        assert!(UserId::new("x".repeat(255)).is_ok());
        assert!(UserId::new("x".repeat(256)).is_err());
    }
}
