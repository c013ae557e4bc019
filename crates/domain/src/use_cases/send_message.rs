//! Somebody says something in a room.

use std::sync::Arc;

use crate::{
    ClientMessageId, Content, Identity, Membership, NewMessage, RoomId, StorageError,
    StoredMessage,
    ports::{AppendError, Appended, Clock, MessageRepository, RoomEvents},
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
    /// The sender used the message's id for another content.
    #[error("the clientMessageId was used for another content")]
    Conflict,
    /// It was not stored, or it is not known whether it was.
    #[error("the message cannot be stored now")]
    Storage(#[source] StorageError),
}

/// What somebody wants to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMessage {
    /// Where.
    pub room_id: RoomId,
    /// What.
    pub content: Content,
    /// The id that the sender picked, if it picked one.
    pub client_message_id: Option<ClientMessageId>,
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

    /// Stores the message and, once it is stored, announces it. What is not stored,
    /// or was stored before, is announced to nobody.
    ///
    /// # Errors
    /// [`SendMessageError`].
    pub async fn execute(
        &self,
        identity: &Identity,
        membership: &Membership,
        sent: SentMessage,
    ) -> Result<Arc<StoredMessage>, SendMessageError> {
        if !membership.contains(sent.room_id) {
            return Err(SendMessageError::NotInRoom);
        }
        let message = NewMessage {
            room_id: sent.room_id,
            author: identity.user.clone(),
            content: sent.content,
            client_message_id: sent.client_message_id,
            created_at: self.clock.now(),
        };
        match self.messages.append(message).await? {
            Appended::Stored(message) => {
                let message = Arc::new(StoredMessage::from(message));
                self.events.message_stored(message.clone()).await;
                Ok(message)
            }
            Appended::Repeat(message) => Ok(Arc::new(message.into())),
        }
    }
}

impl From<AppendError> for SendMessageError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict => Self::Conflict,
            AppendError::Storage(error) => Self::Storage(error),
        }
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
        async fn write_to(self, room: u64) -> Result<Arc<StoredMessage>, SendMessageError> {
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
                SentMessage {
                    room_id: RoomId::new(room).unwrap(),
                    content: Content::new("hello").unwrap(),
                    client_message_id: None,
                },
            )
            .await
        }
    }

    #[pollster::test]
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
                let stored = new.stored(MessageId::new(812), Seq::new(57).unwrap());
                Ok(Appended::Stored(stored))
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

    #[pollster::test]
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
                .return_once(move |_| Err(error.into()));
            assert!(matches!(
                world.write_to(1).await,
                Err(SendMessageError::Storage(_))
            ));
        }
    }

    #[pollster::test]
    async fn a_repeat_is_answered_and_announced_to_nobody() {
        let mut world = World::new();
        world.messages.expect_append().once().returning(|new| {
            let stored = new.stored(MessageId::new(812), Seq::new(57).unwrap());
            Ok(Appended::Repeat(stored))
        });
        assert_eq!(world.write_to(1).await.unwrap().seq.get(), 57);

        let mut world = World::new();
        let append = world.messages.expect_append();
        append.once().returning(|_| Err(AppendError::Conflict));
        assert!(matches!(
            world.write_to(1).await,
            Err(SendMessageError::Conflict)
        ));
    }

    #[pollster::test]
    async fn a_room_that_was_not_joined_is_refused_before_the_store_is_asked() {
        assert!(matches!(
            World::new().write_to(2).await,
            Err(SendMessageError::NotInRoom)
        ));
    }
}
