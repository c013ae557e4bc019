//! Somebody has read up to a message.

use std::sync::Arc;

use crate::{
    Identity, Membership, RoomId, Seq, Standing, StorageError,
    ports::{PointerMoved, RoomEvents, RoomRepository},
};

/// Moves a user's read pointer, then tells everybody.
#[derive(Clone)]
pub struct MarkRead {
    rooms: Arc<dyn RoomRepository>,
    events: Arc<dyn RoomEvents>,
}

/// Why a pointer was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MarkReadError {
    /// The connection has not joined the room.
    #[error("join the room before marking it as read")]
    NotInRoom,
    /// It could not be stored.
    #[error("the read pointer cannot be moved now")]
    Storage(#[source] StorageError),
}

impl MarkRead {
    /// With pointers in this repository, and these hints.
    pub fn new(rooms: Arc<dyn RoomRepository>, events: Arc<dyn RoomEvents>) -> Self {
        Self { rooms, events }
    }

    /// Moves the pointer forward, never beyond the newest message, and announces it
    /// if it moved. Where room and pointer stand then.
    ///
    /// # Errors
    /// [`MarkReadError`].
    pub async fn execute(
        &self,
        identity: &Identity,
        membership: &Membership,
        room_id: RoomId,
        position: Seq,
    ) -> Result<Standing, MarkReadError> {
        if !membership.contains(room_id) {
            return Err(MarkReadError::NotInRoom);
        }
        let user_id = &identity.user.id;
        let marked = self
            .rooms
            .mark_read(room_id, user_id, position)
            .await
            .map_err(MarkReadError::Storage)?;
        if marked.moved {
            let moved = PointerMoved {
                room_id,
                user_id: user_id.clone(),
                seq: marked.standing.read,
            };
            self.events.pointer_moved(moved).await;
        }
        Ok(marked.standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DisplayName, RoomAccess, Timestamp, User, UserId,
        ports::{MarkedRead, MockRoomEvents, MockRoomRepository},
    };

    /// Ada, who is in room 1, marks position 9 of a room; the store moves its
    /// pointer to 5, or does not.
    async fn mark(room: u64, moved: bool, announced: usize) -> Result<Standing, MarkReadError> {
        let standing = Standing {
            newest: Seq::new(5).unwrap(),
            read: Seq::new(5).unwrap(),
        };
        let mut rooms = MockRoomRepository::new();
        rooms
            .expect_mark_read()
            .returning(move |_, _, _| Ok(MarkedRead { standing, moved }));
        let mut events = MockRoomEvents::new();
        events
            .expect_pointer_moved()
            .times(announced)
            .withf(|moved| moved.seq.get() == 5 && moved.user_id.as_str() == "42")
            .return_const(());
        let identity = Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms: RoomAccess::All,
            valid_until: Timestamp::from_unix_millis(0),
        };
        let mut membership = Membership::default();
        membership.join(RoomId::new(1).unwrap());
        let mark = MarkRead::new(Arc::new(rooms), Arc::new(events));
        let (room, position) = (RoomId::new(room).unwrap(), Seq::new(9).unwrap());
        mark.execute(&identity, &membership, room, position).await
    }

    #[pollster::test]
    async fn a_pointer_that_moved_is_announced_and_one_that_did_not_is_not() {
        assert_eq!(mark(1, true, 1).await.unwrap().unread(), 0);
        assert_eq!(mark(1, false, 0).await.unwrap().read.get(), 5);
    }

    #[pollster::test]
    async fn a_room_that_was_not_joined_is_refused() {
        assert!(matches!(
            mark(2, true, 0).await,
            Err(MarkReadError::NotInRoom)
        ));
    }
}
