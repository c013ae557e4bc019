//! A user reads what has changed in a room's messages.

use std::sync::Arc;

use super::ListMessagesError;
use super::page::{Encoding, Page, PageLimit};
use crate::{
    Access, AccessDenied, EncodeMessageFor, Message, Rev, RoomId, UserId, ports::ChangeRepository,
};

/// Reads a room's changed messages, page by page, ascending by their latest change.
#[derive(Clone)]
pub struct ListChanges {
    changes: Arc<dyn ChangeRepository>,
    encoding: Encoding,
}

/// A page of changed messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesRead {
    /// The messages in their newest state, ascending by their latest change.
    pub page: Page,
    /// The number of the latest change in the page; the one after which it starts if it is empty.
    pub last: Rev,
    /// The number of the room's newest change, read before the messages.
    pub newest: Rev,
}

impl ListChanges {
    /// Creates the use case over these changes.
    pub fn new(changes: Arc<dyn ChangeRepository>, encode: EncodeMessageFor) -> Self {
        Self {
            changes: changes.clone(),
            encoding: Encoding::new(changes, encode),
        }
    }

    /// Reads the messages that changed after this number. The reactions of the reader are its
    /// own; without one, none are.
    ///
    /// # Errors
    /// [`ListMessagesError`].
    pub async fn execute(
        &self,
        access: Access,
        reader: Option<&UserId>,
        room_id: RoomId,
        after: Rev,
        limit: PageLimit,
    ) -> Result<ChangesRead, ListMessagesError> {
        let generation = access.require_joined()?.generation;
        let reading = self
            .changes
            .changed_after(room_id, after, None, limit.of_read());
        let read = reading.await.map_err(ListMessagesError::Storage)?;
        // The room that the caller joined was deleted, or is being deleted.
        if read.generation != generation {
            return Err(AccessDenied::NotFound.into());
        }
        let messages = read.messages.into_iter().map(|changed| changed.message);
        let messages: Vec<Message> = messages.collect();
        let encoded = self
            .encoding
            .page(room_id, reader, &messages, read.has_more);
        let page = encoded.await.map_err(ListMessagesError::Storage)?;
        let last = match page.messages.len() {
            0 => None,
            kept => messages[kept - 1].changes.as_ref(),
        };
        Ok(ChangesRead {
            last: last.map_or(after, |changes| changes.rev),
            newest: read.newest,
            page,
        })
    }
}

#[cfg(test)]
mod tests;
