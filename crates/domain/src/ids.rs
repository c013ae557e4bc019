//! The numbers and names by which rooms, messages and users are known.

use std::fmt;

/// The greatest room and sequence number: 2^53 - 1, the greatest integer that
/// every JSON parser, JavaScript's included, reads exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// A number outside its range.
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

/// A room's number, from 1 to [`MAX_NUMBER`]. Every number is a room: it comes
/// into being with its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(u64);

impl RoomId {
    /// A room's number.
    ///
    /// # Errors
    /// [`InvalidNumber`] for 0 and beyond [`MAX_NUMBER`].
    pub fn new(value: u64) -> Result<Self, InvalidNumber> {
        in_range(value, 1).map(Self)
    }

    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A position in a room's log. The room's first message is 1; 0 stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64);

impl Seq {
    /// The position before the first message: where an empty room stands.
    pub const START: Self = Self(0);

    /// A position from 0 to [`MAX_NUMBER`].
    ///
    /// # Errors
    /// [`InvalidNumber`] beyond [`MAX_NUMBER`].
    pub fn new(value: u64) -> Result<Self, InvalidNumber> {
        in_range(value, 0).map(Self)
    }

    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }

    /// How many messages are after `earlier`, up to and including this position.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The position before this one; the start stays the start.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A message's number in the whole store; unlike [`Seq`] it says nothing about
/// order, and has holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(i64);

impl MessageId {
    /// The number that the store gave.
    pub fn new(value: i64) -> Self {
        Self(value)
    }

    /// The number itself.
    pub fn get(self) -> i64 {
        self.0
    }
}

/// A user's id: the text of a token's `sub`, 1 to 255 bytes without NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Box<str>);

/// A text that is no [`UserId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user id has 1 to 255 bytes and no NUL")]
pub struct InvalidUserId;

impl UserId {
    /// A user's id.
    ///
    /// # Errors
    /// [`InvalidUserId`] if it is empty, longer than 255 bytes (it is a key in
    /// the store), or holds a NUL (which PostgreSQL's text cannot).
    pub fn new(value: impl Into<Box<str>>) -> Result<Self, InvalidUserId> {
        let value = value.into();
        if value.is_empty() || value.len() > 255 || value.contains('\0') {
            return Err(InvalidUserId);
        }
        Ok(Self(value))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An id that a sender picked for a message, so that sending it again stores it
/// once: 1 to 64 characters of `A-Z a-z 0-9 - _ . :`, unique per user and room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientMessageId(Box<str>);

/// A text that is no [`ClientMessageId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 64 characters of A-Z a-z 0-9 - _ . :")]
pub struct InvalidClientMessageId;

impl ClientMessageId {
    /// An id that a sender picked.
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

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
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
display!(RoomId, Seq, MessageId, UserId, ClientMessageId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_number_is_from_1_to_2_pow_53_minus_1() {
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
    fn a_position_may_be_before_the_first_message() {
        assert_eq!(Seq::new(0).unwrap(), Seq::START);
        assert_eq!(Seq::START.next().get(), 1);
        assert!(Seq::new(MAX_NUMBER + 1).is_err());
    }

    #[test]
    fn a_client_message_id_is_short_and_plain() {
        for id in ["a", "c0ffee-1", "A_z.9:-", &"x".repeat(64)] {
            assert_eq!(ClientMessageId::new(id).unwrap().as_str(), id);
        }
        for wrong in ["", "a b", "é", "a/b", "a\0", &"x".repeat(65)] {
            assert!(ClientMessageId::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_user_id_is_short_text_without_nul() {
        assert_eq!(UserId::new("42").unwrap().as_str(), "42");
        assert!(UserId::new("").is_err());
        assert!(UserId::new("a\0b").is_err());
        assert!(UserId::new("x".repeat(255)).is_ok());
        assert!(UserId::new("x".repeat(256)).is_err());
    }
}
