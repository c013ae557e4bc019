//! What a message may carry besides its text.

use crate::{Seq, UserId};

/// What a message carries besides its text. It counts as content when a repeat is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageExtras {
    /// The earlier message in the room to which it replies.
    pub reply_to: Option<Seq>,
    /// The users whom it mentions, at most [`MessageExtras::MAX_MENTIONS`], each once, in the
    /// order in which they were given.
    pub mentions: Vec<UserId>,
    /// What the product keeps with it, such as references to files that the product stores.
    pub metadata: Option<MessageMetadata>,
}

impl MessageExtras {
    /// The maximum number of mentions.
    pub const MAX_MENTIONS: usize = 50;

    /// Returns whether the message carries nothing besides its text.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns how many bytes its parts of any size have.
    pub fn size(&self) -> usize {
        let mentions: usize = self.mentions.iter().map(|id| id.as_str().len()).sum();
        let metadata = self.metadata.as_ref();
        mentions + metadata.map_or(0, |metadata| metadata.as_str().len())
    }

    /// Returns the extras as messages hold them: nothing if they are empty, which costs nothing.
    pub fn boxed(self) -> Option<Box<Self>> {
        (!self.is_empty()).then(|| Box::new(self))
    }
}

/// What a product keeps with a message: a JSON object of at most
/// [`MessageMetadata::MAX_BYTES`], which only the product understands. The boundary checks that
/// it is one, and brings it into one form, so that equal objects are equal here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageMetadata(Box<str>);

/// The error for metadata that is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have at most {} bytes", MessageMetadata::MAX_BYTES)]
pub struct InvalidMessageMetadata;

impl MessageMetadata {
    /// The maximum number of bytes of its JSON.
    pub const MAX_BYTES: usize = 2048;

    /// Wraps a JSON object.
    ///
    /// # Errors
    /// [`InvalidMessageMetadata`].
    pub fn new(json: impl Into<Box<str>>) -> Result<Self, InvalidMessageMetadata> {
        let json = json.into();
        match json.len() <= Self::MAX_BYTES {
            true => Ok(Self(json)),
            false => Err(InvalidMessageMetadata),
        }
    }

    /// Returns the JSON object.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extras_that_carry_nothing_are_none() {
        assert_eq!(MessageExtras::default().boxed(), None);
        assert_eq!(MessageExtras::default().size(), 0);
        let extras = MessageExtras {
            reply_to: Seq::new(1).ok(),
            mentions: ["7", "é"].map(|id| UserId::new(id).unwrap()).into(),
            metadata: MessageMetadata::new(r#"{"a":1}"#).ok(),
        };
        assert_eq!(extras.size(), 10);
        assert_eq!(extras.clone().boxed().as_deref(), Some(&extras));
    }

    #[test]
    fn metadata_has_at_most_2048_bytes() {
        let most = "x".repeat(2048);
        assert_eq!(MessageMetadata::new(most.as_str()).unwrap().as_str(), most);
        let refused = MessageMetadata::new("x".repeat(2049)).unwrap_err();
        assert_eq!(refused.to_string(), "must have at most 2048 bytes");
    }
}
