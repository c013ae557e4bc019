//! The product deletes a room. No user may: there is no event for it.

use std::sync::Arc;

use crate::ports::{Closing, Hint, RoomDeletion, RoomEvents};
use crate::{RoomEntry, RoomId, StorageError};

/// Closes a room, then announces it. What it contains is deleted later, in the background.
#[derive(Clone)]
pub struct DeleteRoom {
    deletion: Arc<dyn RoomDeletion>,
    events: Arc<dyn RoomEvents>,
}

/// What a request to delete a room has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomDeleted {
    /// The room does not exist for any user from now on. Its number can be used again when
    /// everything in it is deleted.
    Closed,
    /// The same, by an earlier request.
    AlreadyClosed,
    /// There was no such room.
    NotFound,
}

/// Why a room was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteRoomError {
    /// The room could not be closed.
    #[error("the room cannot be deleted now")]
    Storage(#[source] StorageError),
}

impl DeleteRoom {
    /// Creates the use case over this storage and these hints.
    pub fn new(deletion: Arc<dyn RoomDeletion>, events: Arc<dyn RoomEvents>) -> Self {
        Self { deletion, events }
    }

    /// Closes the room. When it returns, nothing more is stored in it, and nothing from it is
    /// handed to a connection of this node; other nodes follow within a second.
    ///
    /// # Errors
    /// [`DeleteRoomError`].
    pub async fn execute(&self, room_id: RoomId) -> Result<RoomDeleted, DeleteRoomError> {
        let closing = self.deletion.close(room_id).await;
        let (deleted, generation) = match closing.map_err(DeleteRoomError::Storage)? {
            Closing::Closed(generation) => (RoomDeleted::Closed, generation),
            // The process that closed it may have ended before it announced it.
            Closing::AlreadyClosed(generation) => (RoomDeleted::AlreadyClosed, generation),
            Closing::NotFound => return Ok(RoomDeleted::NotFound),
        };
        self.events.announce(Hint {
            room_id,
            generation,
            entry: RoomEntry::Closed,
        });
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use mockall::predicate::eq;

    use super::*;
    use crate::Generation;
    use crate::ports::{MockRoomDeletion, MockRoomEvents};

    async fn delete(
        closing: Result<Closing, StorageError>,
        announced: Option<u64>,
    ) -> Result<RoomDeleted, DeleteRoomError> {
        let room_id = RoomId::new(1).unwrap();
        let mut deletion = MockRoomDeletion::new();
        let close = deletion.expect_close().with(eq(room_id));
        close.once().return_once(|_| closing);
        let mut events = MockRoomEvents::new();
        if let Some(generation) = announced {
            let hint = Hint {
                room_id,
                generation: Generation::new(generation),
                entry: RoomEntry::Closed,
            };
            let announce = events.expect_announce().with(eq(hint));
            announce.once().return_const(());
        }
        DeleteRoom::new(Arc::new(deletion), Arc::new(events))
            .execute(room_id)
            .await
    }

    #[pollster::test]
    async fn a_closed_room_is_announced_with_the_generation_that_follows() {
        let generation = Generation::new(9);
        let closed = delete(Ok(Closing::Closed(generation)), Some(9)).await;
        assert_eq!(closed.unwrap(), RoomDeleted::Closed);
        let again = delete(Ok(Closing::AlreadyClosed(generation)), Some(9)).await;
        assert_eq!(again.unwrap(), RoomDeleted::AlreadyClosed);
    }

    #[pollster::test]
    async fn a_room_that_does_not_exist_or_cannot_be_closed_is_not_announced() {
        let nothing = delete(Ok(Closing::NotFound), None).await;
        assert_eq!(nothing.unwrap(), RoomDeleted::NotFound);
        let failed = delete(Err(StorageError::unavailable("gone")), None).await;
        assert!(matches!(failed, Err(DeleteRoomError::Storage(_))));
    }
}
