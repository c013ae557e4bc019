//! Somebody enters a room.

use std::sync::Arc;

use crate::{Identity, RoomId, Standing, StorageError, ports::RoomRepository};

/// Lets a user into a room and says how far the room has come. It stores nothing.
#[derive(Clone)]
pub struct JoinRoom {
    rooms: Arc<dyn RoomRepository>,
}

/// Why a room cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinRoomError {
    /// No such room for this user; whether it exists is not told.
    #[error("there is no such room")]
    NotFound,
    /// How far the room has come could not be read.
    #[error("the room cannot be read now")]
    Storage(#[source] StorageError),
}

impl JoinRoom {
    /// With rooms read from this repository.
    pub fn new(rooms: Arc<dyn RoomRepository>) -> Self {
        Self { rooms }
    }

    /// How far the room has come, and how far this user has read it. Any number can
    /// be joined: a room without messages stands at the start.
    ///
    /// # Errors
    /// [`JoinRoomError`].
    pub async fn execute(
        &self,
        identity: &Identity,
        room_id: RoomId,
    ) -> Result<Standing, JoinRoomError> {
        if !identity.may_enter(room_id) {
            return Err(JoinRoomError::NotFound);
        }
        self.rooms
            .standing(room_id, &identity.user.id)
            .await
            .map_err(JoinRoomError::Storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DisplayName, RoomAccess, Seq, Timestamp, User, UserId, ports::MockRoomRepository};

    fn room(number: u64) -> RoomId {
        RoomId::new(number).unwrap()
    }

    fn identity(rooms: RoomAccess) -> Identity {
        Identity {
            user: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            rooms,
            valid_until: Timestamp::from_unix_millis(0),
        }
    }

    #[pollster::test]
    async fn a_room_that_the_token_does_not_open_is_not_found_without_a_look() {
        let mut rooms = MockRoomRepository::new();
        let stands = Standing {
            newest: Seq::new(5).unwrap(),
            read: Seq::new(3).unwrap(),
        };
        rooms
            .expect_standing()
            .times(1)
            .returning(move |_, _| Ok(stands));
        let join = JoinRoom::new(Arc::new(rooms));
        let identity = identity(RoomAccess::Only([room(1)].into()));
        assert!(matches!(
            join.execute(&identity, room(2)).await,
            Err(JoinRoomError::NotFound)
        ));
        let found = join.execute(&identity, room(1)).await.unwrap();
        assert_eq!((found, found.unread()), (stands, 2));
    }

    #[pollster::test]
    async fn a_store_that_is_away_is_an_error_not_an_empty_room() {
        let mut rooms = MockRoomRepository::new();
        rooms
            .expect_standing()
            .returning(|_, _| Err(StorageError::unavailable("gone")));
        let join = JoinRoom::new(Arc::new(rooms));
        assert!(matches!(
            join.execute(&identity(RoomAccess::All), room(1)).await,
            Err(JoinRoomError::Storage(_))
        ));
    }
}
