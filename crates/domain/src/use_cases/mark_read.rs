//! A user marks a room as read up to a message.

use std::sync::Arc;

use crate::{
    AccessDenied, Caller, ReadState, RoomEntry, RoomId, Seq, StorageError,
    ports::{Hint, RoomEvents, RoomRepository},
};

/// Moves a user's read pointer, then announces it.
#[derive(Clone)]
pub struct MarkRead {
    rooms: Arc<dyn RoomRepository>,
    events: Arc<dyn RoomEvents>,
}

/// Why a pointer was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MarkReadError {
    /// The caller may not do this in the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The pointer could not be stored.
    #[error("the read pointer cannot be moved now")]
    Storage(#[source] StorageError),
}

impl MarkRead {
    /// Creates the use case over this repository and these hints.
    pub fn new(rooms: Arc<dyn RoomRepository>, events: Arc<dyn RoomEvents>) -> Self {
        Self { rooms, events }
    }

    /// Moves the pointer forward, at most to the newest message, and announces it if it
    /// moved. Returns the state of the room and the pointer afterwards.
    ///
    /// # Errors
    /// [`MarkReadError`].
    pub async fn execute(
        &self,
        caller: Caller<'_>,
        room_id: RoomId,
        position: Seq,
    ) -> Result<ReadState, MarkReadError> {
        let generation = caller.access.require_joined()?.generation;
        let user_id = &caller.user.id;
        let marked = self
            .rooms
            .mark_read(room_id, generation, user_id, position)
            .await
            .map_err(MarkReadError::Storage)?
            // The room that the caller joined was deleted, or is being deleted.
            .ok_or(AccessDenied::NotFound)?;
        if marked.moved {
            self.events.announce(Hint {
                room_id,
                generation,
                entry: RoomEntry::ReadPointer {
                    user_id: user_id.clone(),
                    seq: marked.state.read,
                },
            });
        }
        Ok(marked.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Permit;
    use crate::{
        Access, DisplayName, Generation, User, UserId,
        ports::{MarkedRead, MockRoomEvents, MockRoomRepository},
    };

    /// Marks position 9 of a room; the repository moves the pointer to 5, or does not.
    async fn mark(
        access: Access,
        moved: bool,
        announced: usize,
    ) -> Result<ReadState, MarkReadError> {
        let state = ReadState {
            newest: Seq::new(5).unwrap(),
            read: Seq::new(5).unwrap(),
        };
        let mut rooms = MockRoomRepository::new();
        rooms
            .expect_mark_read()
            .returning(move |_, _, _, _| Ok(Some(MarkedRead { state, moved })));
        let mut events = MockRoomEvents::new();
        let expected = RoomEntry::ReadPointer {
            user_id: UserId::new("42").unwrap(),
            seq: Seq::new(5).unwrap(),
        };
        events
            .expect_announce()
            .times(announced)
            .withf(move |hint| hint.entry == expected)
            .return_const(());
        let user = User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        };
        let mark = MarkRead::new(Arc::new(rooms), Arc::new(events));
        let (room, position) = (RoomId::new(1).unwrap(), Seq::new(9).unwrap());
        let caller = Caller {
            user: &user,
            access,
        };
        mark.execute(caller, room, position).await
    }

    #[pollster::test]
    async fn a_pointer_is_announced_only_if_it_moved() {
        assert_eq!(
            mark(Access::Joined(Permit::OPEN), true, 1)
                .await
                .unwrap()
                .unread(),
            0
        );
        assert_eq!(
            mark(Access::Joined(Permit::OPEN), false, 0)
                .await
                .unwrap()
                .read
                .get(),
            5
        );
    }

    #[pollster::test]
    async fn a_room_that_was_not_joined_is_refused() {
        assert!(matches!(
            mark(Access::NotJoined, true, 0).await,
            Err(MarkReadError::Denied(AccessDenied::NotInRoom))
        ));
        assert!(matches!(
            mark(Access::NotFound, true, 0).await,
            Err(MarkReadError::Denied(AccessDenied::NotFound))
        ));
    }

    #[pollster::test]
    async fn a_room_that_was_deleted_since_the_caller_joined_is_not_found() {
        let joined = Permit {
            generation: Generation::new(7),
            ..Permit::OPEN
        };
        let mut rooms = MockRoomRepository::new();
        let mark = rooms.expect_mark_read();
        mark.once().returning(|_, generation, _, _| {
            assert_eq!(generation, Generation::new(7));
            Ok(None)
        });
        let mark = MarkRead::new(Arc::new(rooms), Arc::new(MockRoomEvents::new()));
        let user = User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        };
        let caller = Caller {
            user: &user,
            access: Access::Joined(joined),
        };
        let outcome = mark.execute(caller, RoomId::new(1).unwrap(), Seq::new(9).unwrap());
        assert!(matches!(
            outcome.await,
            Err(MarkReadError::Denied(AccessDenied::NotFound))
        ));
    }
}
