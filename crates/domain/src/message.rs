//! What is said: before it is stored, and after.

use std::ops::Deref;
use std::sync::OnceLock;

use crate::{ClientMessageId, MessageId, RoomId, Seq, Timestamp, User};

/// A message's text: 1 to 4000 characters (Unicode scalar values), not only
/// white space, no NUL. It is kept as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(Box<str>);

/// Why a text is no [`Content`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContent {
    /// No characters, or white space alone.
    #[error("must not be empty or only white space")]
    Blank,
    /// More than [`Content::MAX_CHARS`].
    #[error("must have at most {} characters", Content::MAX_CHARS)]
    TooLong,
    /// A NUL character, which PostgreSQL's text cannot hold.
    #[error("must not contain NUL")]
    Nul,
}

impl Content {
    /// The greatest number of characters.
    pub const MAX_CHARS: usize = 4000;

    /// A message's text.
    ///
    /// # Errors
    /// [`InvalidContent`] says which rule it breaks.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, InvalidContent> {
        let text = text.into();
        // A character has at least one byte, so that most texts need no count.
        if text.len() > Self::MAX_CHARS && text.chars().count() > Self::MAX_CHARS {
            return Err(InvalidContent::TooLong);
        }
        if text.contains('\0') {
            return Err(InvalidContent::Nul);
        }
        if text.chars().all(char::is_whitespace) {
            return Err(InvalidContent::Blank);
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message that somebody wants to say in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Where.
    pub room_id: RoomId,
    /// Who.
    pub author: User,
    /// What.
    pub content: Content,
    /// The id that its sender picked, if it picked one.
    pub client_message_id: Option<ClientMessageId>,
    /// When it came in.
    pub created_at: Timestamp,
}

/// A message that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number in the whole store.
    pub id: MessageId,
    /// The room it was said in.
    pub room_id: RoomId,
    /// Its place in the room: 1, 2, 3 … without holes.
    pub seq: Seq,
    /// Who said it. A live message has the name of the token that sent it, one
    /// read from the log the latest name stored.
    pub author: User,
    /// What was said.
    pub content: Content,
    /// The id that its sender picked, if it picked one.
    pub client_message_id: Option<ClientMessageId>,
    /// When it came in.
    pub created_at: Timestamp,
}

impl NewMessage {
    /// The message that this one became when it was stored.
    pub fn stored(self, id: MessageId, seq: Seq) -> Message {
        Message {
            id,
            room_id: self.room_id,
            seq,
            author: self.author,
            content: self.content,
            client_message_id: self.client_message_id,
            created_at: self.created_at,
        }
    }
}

/// A stored message on its way to everybody who is told of it. It is encoded once, by
/// whoever needs it first, for all of them.
#[derive(Debug)]
pub struct StoredMessage {
    message: Message,
    encoded: OnceLock<Box<str>>,
}

impl StoredMessage {
    /// The message as the transport writes it. A process has one encoding: the first
    /// caller's counts.
    pub fn encoded(&self, encode: impl FnOnce(&Message) -> Box<str>) -> &str {
        self.encoded.get_or_init(|| encode(&self.message))
    }
}

impl From<Message> for StoredMessage {
    fn from(message: Message) -> Self {
        let encoded = OnceLock::new();
        Self { message, encoded }
    }
}

impl Deref for StoredMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_has_1_to_4000_characters_not_bytes() {
        assert!(Content::new("a".repeat(4000)).is_ok());
        assert_eq!(Content::new("a".repeat(4001)), Err(InvalidContent::TooLong));
        // Four bytes each.
        assert!(Content::new("🦀".repeat(4000)).is_ok());
        assert_eq!(
            Content::new("🦀".repeat(4001)),
            Err(InvalidContent::TooLong)
        );
        // A family is seven scalar values.
        let family = "👨‍👩‍👧‍👦";
        assert_eq!(family.chars().count(), 7);
        assert!(Content::new(family.repeat(571)).is_ok());
        assert_eq!(
            Content::new(family.repeat(572)),
            Err(InvalidContent::TooLong)
        );
    }

    #[test]
    fn content_is_not_blank() {
        for blank in ["", " ", "\n\t \u{a0}\u{3000}"] {
            assert_eq!(Content::new(blank), Err(InvalidContent::Blank), "{blank:?}");
        }
    }

    #[test]
    fn content_has_no_nul() {
        assert_eq!(Content::new("a\0b"), Err(InvalidContent::Nul));
    }

    #[test]
    fn content_is_kept_as_it_was_sent() {
        let text = "  e\u{301} \u{202e}\u{1}\r\n ";
        assert_eq!(Content::new(text).unwrap().as_str(), text);
    }
}
