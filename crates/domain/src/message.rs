//! Messages, before and after they are stored.

use crate::{
    ClientMessageId, MessageChanges, MessageExtras, MessageId, ReactionKey, RoomId, RulesNumber,
    Seq, Timestamp, User,
};

/// A message's text: 1 to 4000 characters (Unicode scalar values), not only
/// whitespace, without NUL. It is stored as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(Box<str>);

/// Why a text is not a valid [`Content`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContent {
    /// It is empty or consists only of whitespace.
    #[error("must not be empty or only whitespace")]
    Blank,
    /// It has more than [`Content::MAX_CHARS`] characters.
    #[error("must have at most {} characters", Content::MAX_CHARS)]
    TooLong,
    /// It contains NUL, which PostgreSQL's text type cannot store.
    #[error("must not contain NUL")]
    Nul,
}

impl Content {
    /// The maximum number of characters.
    pub const MAX_CHARS: usize = 4000;

    /// Creates a message's text.
    ///
    /// # Errors
    /// [`InvalidContent`] names the rule that the text breaks.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, InvalidContent> {
        let text = text.into();
        // A character has at least one byte, so most texts need not be counted.
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

    /// Returns the text of a message that was deleted: it is empty. No client can send it.
    pub fn deleted() -> Self {
        Self("".into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message that is about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The room to which it was sent.
    pub room_id: RoomId,
    /// Its author, under the name in the token that sent it.
    pub author: User,
    /// Its text.
    pub content: Content,
    /// What it carries besides its text, if anything.
    pub extras: Option<Box<MessageExtras>>,
    /// The id that the sender chose, if any.
    pub client_message_id: Option<ClientMessageId>,
    /// When it arrived.
    pub created_at: Timestamp,
    /// The number of the room's rules by which its author may write it.
    pub rules: RulesNumber,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id, unique across all rooms.
    pub id: MessageId,
    /// Its room.
    pub room_id: RoomId,
    /// Its position in the room: 1, 2, 3 … without gaps.
    pub seq: Seq,
    /// Its author: in a live message under the name in the token that sent it, in a
    /// message read from the log under the latest stored name.
    pub author: User,
    /// Its text.
    pub content: Content,
    /// What it carries besides its text, if anything.
    pub extras: Option<Box<MessageExtras>>,
    /// The id that the sender chose, if any.
    pub client_message_id: Option<ClientMessageId>,
    /// When it arrived.
    pub created_at: Timestamp,
    /// What has become of it since, if it has changed.
    pub changes: Option<Box<MessageChanges>>,
}

impl NewMessage {
    /// Returns the stored message that this one became.
    pub fn stored(self, id: MessageId, seq: Seq) -> Message {
        Message {
            id,
            room_id: self.room_id,
            seq,
            author: self.author,
            content: self.content,
            extras: self.extras,
            client_message_id: self.client_message_id,
            created_at: self.created_at,
            changes: None,
        }
    }
}

/// A stored message in the form that clients receive. It is encoded once; the
/// acknowledgement, every member and other nodes share the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    seq: Seq,
    encoded: Box<str>,
}

/// Encodes a message in the form that clients receive. A process has one, and it is the same
/// on every node.
pub type EncodeMessage = fn(&Message) -> Box<str>;

/// Encodes a message for one user, who has set these reactions to it: pages state which
/// reactions are the reader's own. Without any, it encodes as [`EncodeMessage`] does.
pub type EncodeMessageFor = fn(&Message, &[ReactionKey]) -> Box<str>;

impl StoredMessage {
    /// Joins a message's position and its encoding, for example as both arrived from another
    /// node.
    pub fn new(seq: Seq, encoded: Box<str>) -> Self {
        Self { seq, encoded }
    }

    /// Encodes a message.
    pub fn encode(message: &Message, encode: EncodeMessage) -> Self {
        Self::new(message.seq, encode(message))
    }

    /// Returns the message's position in its room.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Returns the encoding.
    pub fn encoded(&self) -> &str {
        &self.encoded
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
        // This emoji consists of seven scalar values.
        let family = "👨‍👩‍👧‍👦";
        assert_eq!(family.chars().count(), 7);
        assert!(Content::new(family.repeat(571)).is_ok());
        assert_eq!(
            Content::new(family.repeat(572)),
            Err(InvalidContent::TooLong)
        );
    }

    #[test]
    fn content_must_not_be_blank() {
        for blank in ["", " ", "\n\t \u{a0}\u{3000}"] {
            assert_eq!(Content::new(blank), Err(InvalidContent::Blank), "{blank:?}");
        }
    }

    #[test]
    fn content_must_not_contain_nul() {
        assert_eq!(Content::new("a\0b"), Err(InvalidContent::Nul));
    }

    #[test]
    fn content_is_stored_as_sent() {
        let text = "  e\u{301} \u{202e}\u{1}\r\n ";
        assert_eq!(Content::new(text).unwrap().as_str(), text);
    }
}
