//! Somebody says something in a room.

use std::sync::Arc;

use crate::{
    Content, Identity, Membership, Message, NewMessage, RoomId, StorageError,
    ports::{Clock, MessageRepository, RoomEvents},
};

/// Stores a message, then tells everybody.
#[derive(Clone)]
pub struct SendMessage {
    messages: Arc<dyn MessageRepository>,
    events: Arc<dyn RoomEvents>,
    clock: Arc<dyn Clock>,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendMessageError {
    /// The connection has not joined the room.
    #[error("join the room before writing to it")]
    NotInRoom,
    /// It was not stored, or it is not known whether it was.
    #[error("the message cannot be stored now")]
    Storage(#[source] StorageError),
}

impl SendMessage {
    /// With this log, these hints and this clock.
    pub fn new(
        messages: Arc<dyn MessageRepository>,
        events: Arc<dyn RoomEvents>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            messages,
            events,
            clock,
        }
    }

    /// Stores the message and, once it is stored, announces it. What is not
    /// stored is announced to nobody.
    ///
    /// # Errors
    /// [`SendMessageError`].
    pub async fn execute(
        &self,
        identity: &Identity,
        membership: &Membership,
        room_id: RoomId,
        content: Content,
    ) -> Result<Arc<Message>, SendMessageError> {
        if !membership.contains(room_id) {
            return Err(SendMessageError::NotInRoom);
        }
        let message = NewMessage {
            room_id,
            author: identity.user.clone(),
            content,
            created_at: self.clock.now(),
        };
        let stored = self
            .messages
            .append(message)
            .await
            .map_err(SendMessageError::Storage)?;
        let stored = Arc::new(stored);
        self.events.message_stored(stored.clone()).await;
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use mockall::Sequence;

    use super::*;
    use crate::{
        DisplayName, MessageId, RoomAccess, Seq, Timestamp, User, UserId,
        ports::{MockClock, MockMessageRepository, MockRoomEvents},
    };

    struct World {
        messages: MockMessageRepository,
        events: MockRoomEvents,
    }

    impl World {
        fn new() -> Self {
            Self {
                messages: MockMessageRepository::new(),
                events: MockRoomEvents::new(),
            }
        }

        /// Ada, who is in room 1, writes to the room.
        async fn write_to(self, room: u64) -> Result<Arc<Message>, SendMessageError> {
            let mut clock = MockClock::new();
            clock
                .expect_now()
                .return_const(Timestamp::from_unix_millis(1000));
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
            SendMessage::new(
                Arc::new(self.messages),
                Arc::new(self.events),
                Arc::new(clock),
            )
            .execute(
                &identity,
                &membership,
                RoomId::new(room).unwrap(),
                Content::new("hello").unwrap(),
            )
            .await
        }
    }

    #[tokio::test]
    async fn a_message_is_announced_after_it_was_stored() {
        let mut world = World::new();
        let mut order = Sequence::new();
        world
            .messages
            .expect_append()
            .once()
            .in_sequence(&mut order)
            .returning(|new| {
                assert_eq!(new.author.name.as_str(), "Ada");
                assert_eq!(new.created_at.unix_millis(), 1000);
                Ok(new.stored(MessageId::new(812), Seq::new(57).unwrap()))
            });
        world
            .events
            .expect_message_stored()
            .once()
            .in_sequence(&mut order)
            .withf(|message| message.seq.get() == 57)
            .return_const(());
        let stored = world.write_to(1).await.unwrap();
        assert_eq!(stored.id.get(), 812);
    }

    #[tokio::test]
    async fn what_was_not_stored_is_announced_to_nobody() {
        for error in [
            StorageError::unavailable("gone"),
            StorageError::outcome_unknown("broken"),
        ] {
            let mut world = World::new();
            world
                .messages
                .expect_append()
                .once()
                .return_once(move |_| Err(error));
            assert!(matches!(
                world.write_to(1).await,
                Err(SendMessageError::Storage(_))
            ));
        }
    }

    #[tokio::test]
    async fn a_room_that_was_not_joined_is_refused_before_the_store_is_asked() {
        assert!(matches!(
            World::new().write_to(2).await,
            Err(SendMessageError::NotInRoom)
        ));
    }
}
