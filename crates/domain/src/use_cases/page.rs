//! Pages of messages: how many messages they have, how large they are, and which reactions in
//! them are the reader's own.

use std::sync::Arc;

use super::OwnReactions;
use crate::{
    EncodeMessageFor, Message, RoomId, StorageError, StoredMessage, UserId,
    ports::{ChangeRepository, ReadLimit},
};

/// The maximum number of messages in a page: 1 to [`PageLimit::MAX`], by default 50.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit(usize);

impl PageLimit {
    /// The largest limit.
    pub const MAX: usize = 200;

    /// Creates a limit; `None` for 0 and above [`Self::MAX`].
    pub fn new(limit: usize) -> Option<Self> {
        (1..=Self::MAX).contains(&limit).then_some(Self(limit))
    }

    /// Returns the number.
    pub fn get(self) -> usize {
        self.0
    }

    /// Returns how much is read for a page of messages.
    pub(super) fn of_read(self) -> ReadLimit {
        ReadLimit {
            messages: self.0,
            bytes: Page::MAX_BYTES,
        }
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(50)
    }
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The messages, in the order of the page.
    pub messages: Vec<StoredMessage>,
    /// Whether there are more messages in the direction of the page.
    pub has_more: bool,
}

impl Page {
    /// The maximum size, in bytes of content and in bytes of encoded messages. A page that would
    /// exceed it ends early, with `has_more`. One message may exceed it.
    pub const MAX_BYTES: usize = 192 * 1024;
}

/// Encodes pages.
#[derive(Clone)]
pub(super) struct Encoding {
    changes: Arc<dyn ChangeRepository>,
    encode: EncodeMessageFor,
}

impl Encoding {
    pub(super) fn new(changes: Arc<dyn ChangeRepository>, encode: EncodeMessageFor) -> Self {
        Self { changes, encode }
    }

    /// Encodes the messages of a room, as far as the page's size permits. `has_more` states
    /// whether there are more after them.
    pub(super) async fn page(
        &self,
        room_id: RoomId,
        reader: Option<&UserId>,
        messages: &[Message],
        has_more: bool,
    ) -> Result<Page, StorageError> {
        let own = match reader {
            Some(reader) => {
                OwnReactions::read(&*self.changes, room_id, reader, messages.iter()).await?
            }
            None => OwnReactions::of_no_user(),
        };
        let (mut kept, mut bytes) = (Vec::new(), 0);
        for message in messages {
            let encoded = (self.encode)(message, own.to(message.seq));
            bytes += encoded.len();
            if bytes > Page::MAX_BYTES && !kept.is_empty() {
                break;
            }
            kept.push(StoredMessage::new(message.seq, encoded));
        }
        Ok(Page {
            has_more: has_more || kept.len() < messages.len(),
            messages: kept,
        })
    }
}
