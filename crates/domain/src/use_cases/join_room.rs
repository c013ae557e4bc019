//! Somebody enters a room.

use std::sync::Arc;

use crate::{Identity, RoomId, Seq, StorageError, ports::RoomRepository};

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

    /// The room's newest stored position, [`Seq::START`] for a room without
    /// messages: any number can be joined.
    ///
    /// # Errors
    /// [`JoinRoomError`].
    pub async fn execute(
        &self,
        identity: &Identity,
        room_id: RoomId,
    ) -> Result<Seq, JoinRoomError> {
        if !identity.may_enter(room_id) {
            return Err(JoinRoomError::NotFound);
        }
        let newest = self
            .rooms
            .newest(&[room_id])
            .await
            .map_err(JoinRoomError::Storage)?;
        Ok(newest
            .into_iter()
            .find_map(|(id, seq)| (id == room_id).then_some(seq))
            .unwrap_or(Seq::START))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DisplayName, RoomAccess, Timestamp, User, UserId, ports::MockRoomRepository};

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

    #[tokio::test]
    async fn an_unused_room_stands_at_the_start() {
        let mut rooms = MockRoomRepository::new();
        rooms.expect_newest().returning(|_| Ok(vec![]));
        let join = JoinRoom::new(Arc::new(rooms));
        let seam = join.execute(&identity(RoomAccess::All), room(7)).await;
        assert_eq!(seam.unwrap(), Seq::START);
    }

    #[tokio::test]
    async fn a_room_that_the_token_does_not_open_is_not_found_without_a_look() {
        let mut rooms = MockRoomRepository::new();
        rooms
            .expect_newest()
            .times(1)
            .returning(|rooms| Ok(vec![(rooms[0], Seq::new(3).unwrap())]));
        let join = JoinRoom::new(Arc::new(rooms));
        let identity = identity(RoomAccess::Only([room(1)].into()));
        assert!(matches!(
            join.execute(&identity, room(2)).await,
            Err(JoinRoomError::NotFound)
        ));
        assert_eq!(join.execute(&identity, room(1)).await.unwrap().get(), 3);
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_an_error_not_an_empty_room() {
        let mut rooms = MockRoomRepository::new();
        rooms
            .expect_newest()
            .returning(|_| Err(StorageError::unavailable("gone")));
        let join = JoinRoom::new(Arc::new(rooms));
        assert!(matches!(
            join.execute(&identity(RoomAccess::All), room(1)).await,
            Err(JoinRoomError::Storage(_))
        ));
    }
}
