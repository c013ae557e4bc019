//! A user sends a message to a room.

use std::sync::Arc;

use crate::{
    AccessDenied, Caller, ClientMessageId, Content, EncodeMessage, NewMessage, RoomEntry, RoomId,
    RulesNumber, StorageError, StoredMessage,
    ports::{AppendError, Appended, Clock, Hint, MessageRepository, RoomEvents},
};

/// Stores a message, then announces it.
#[derive(Clone)]
pub struct SendMessage {
    messages: Arc<dyn MessageRepository>,
    events: Arc<dyn RoomEvents>,
    clock: Arc<dyn Clock>,
    encode: EncodeMessage,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendMessageError {
    /// The caller may not do this in the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The sender already used the message's id with different content.
    #[error("the clientMessageId was already used with different content")]
    Conflict,
    /// The message was not stored, or it is not known whether it was.
    #[error("the message cannot be stored now")]
    Storage(#[source] StorageError),
}

/// A message as its sender submits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMessage {
    /// The room.
    pub room_id: RoomId,
    /// The text.
    pub content: Content,
    /// The id that the sender chose, if any.
    pub client_message_id: Option<ClientMessageId>,
}

impl SendMessage {
    /// Creates the use case over this log, these hints and this clock.
    pub fn new(
        messages: Arc<dyn MessageRepository>,
        events: Arc<dyn RoomEvents>,
        clock: Arc<dyn Clock>,
        encode: EncodeMessage,
    ) -> Self {
        Self {
            messages,
            events,
            clock,
            encode,
        }
    }

    /// Stores the message and, once it is stored, calls `stored` and announces it. A message
    /// that is not stored, or was stored before, is not announced.
    ///
    /// # Errors
    /// [`SendMessageError`].
    pub async fn execute(
        &self,
        caller: Caller<'_>,
        sent: SentMessage,
        stored: impl FnOnce(),
    ) -> Result<Arc<StoredMessage>, SendMessageError> {
        caller.access.require_joined()?;
        let message = NewMessage {
            room_id: sent.room_id,
            author: caller.user.clone(),
            content: sent.content,
            client_message_id: sent.client_message_id,
            created_at: self.clock.now(),
            rules: RulesNumber::NONE,
        };
        match self.messages.append(message).await? {
            Appended::Stored(message) => {
                stored();
                let message = Arc::new(StoredMessage::encode(&message, self.encode));
                self.events.announce(Hint {
                    room_id: sent.room_id,
                    entry: RoomEntry::Message(message.clone()),
                });
                Ok(message)
            }
            Appended::Repeat(message) => Ok(Arc::new(StoredMessage::encode(&message, self.encode))),
        }
    }
}

impl From<AppendError> for SendMessageError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict => Self::Conflict,
            AppendError::RulesChanged => {
                Self::Storage(StorageError::unavailable("the room has rules"))
            }
            AppendError::Storage(error) => Self::Storage(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use mockall::Sequence;

    use super::*;
    use crate::{
        Access, DisplayName, MessageId, Seq, Timestamp, User, UserId,
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

        /// Sends a message as Ada, whose name is encoded as the whole message.
        async fn send(self, access: Access) -> Result<Arc<StoredMessage>, SendMessageError> {
            let mut clock = MockClock::new();
            clock
                .expect_now()
                .return_const(Timestamp::from_unix_millis(1000));
            let user = User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            };
            let send = SendMessage::new(
                Arc::new(self.messages),
                Arc::new(self.events),
                Arc::new(clock),
                |message| message.author.name.as_str().into(),
            );
            let caller = Caller {
                user: &user,
                access,
            };
            let sent = SentMessage {
                room_id: RoomId::new(1).unwrap(),
                content: Content::new("hello").unwrap(),
                client_message_id: None,
            };
            send.execute(caller, sent, || ()).await
        }
    }

    #[pollster::test]
    async fn a_message_is_announced_once_it_is_stored() {
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
            .expect_announce()
            .once()
            .in_sequence(&mut order)
            .withf(|hint| {
                matches!(&hint.entry, RoomEntry::Message(message)
                    if message.seq().get() == 57 && message.encoded() == "Ada")
            })
            .return_const(());
        let stored = world.send(Access::Joined).await.unwrap();
        assert_eq!(stored.encoded(), "Ada");
    }

    #[pollster::test]
    async fn a_message_that_was_not_stored_is_not_announced() {
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
                world.send(Access::Joined).await,
                Err(SendMessageError::Storage(_))
            ));
        }
    }

    #[pollster::test]
    async fn a_repeat_is_returned_and_not_announced() {
        let mut world = World::new();
        world.messages.expect_append().once().returning(|new| {
            let stored = new.stored(MessageId::new(812), Seq::new(57).unwrap());
            Ok(Appended::Repeat(stored))
        });
        assert_eq!(world.send(Access::Joined).await.unwrap().seq().get(), 57);

        let mut world = World::new();
        let append = world.messages.expect_append();
        append.once().returning(|_| Err(AppendError::Conflict));
        assert!(matches!(
            world.send(Access::Joined).await,
            Err(SendMessageError::Conflict)
        ));
    }

    #[pollster::test]
    async fn a_room_that_was_not_joined_is_refused_without_touching_storage() {
        assert!(matches!(
            World::new().send(Access::NotJoined).await,
            Err(SendMessageError::Denied(AccessDenied::NotInRoom))
        ));
    }
}
