//! A user sends a message to a room.

use std::sync::Arc;

use crate::{
    AccessDenied, Action, Caller, ClientMessageId, Content, EncodeMessage, NewMessage, Permit,
    RoomEntry, RoomId, StorageError, StoredMessage,
    ports::{
        AppendError, Appended, Clock, Hint, MessageRepository, RoomDirectory, RoomEvents, Turn,
    },
};

/// Stores a message, then announces it.
#[derive(Clone)]
pub struct SendMessage {
    messages: Arc<dyn MessageRepository>,
    directory: Arc<dyn RoomDirectory>,
    events: Arc<dyn RoomEvents>,
    clock: Arc<dyn Clock>,
    encode: EncodeMessage,
}

/// How current the permit is by which a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It was read earlier. What it refuses may be allowed now.
    First,
    /// It was read for this message.
    Again {
        /// Whether an earlier attempt has taken the user's turn in slow mode.
        has_turn: bool,
    },
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendMessageError {
    /// The caller may not do this in the room.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The permit is outdated: it has to be read again for another attempt. Nothing is stored.
    #[error("the rules have changed")]
    Outdated {
        /// Whether this attempt has taken the user's turn in slow mode.
        has_turn: bool,
    },
    /// In slow mode, the user has to wait.
    #[error("slow mode: wait before you send another message")]
    SlowMode {
        /// For how long, in milliseconds.
        retry_after_ms: u64,
    },
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
    /// Creates the use case over this log, these rules, these hints and this clock.
    pub fn new(
        messages: Arc<dyn MessageRepository>,
        directory: Arc<dyn RoomDirectory>,
        events: Arc<dyn RoomEvents>,
        clock: Arc<dyn Clock>,
        encode: EncodeMessage,
    ) -> Self {
        Self {
            messages,
            directory,
            events,
            clock,
            encode,
        }
    }

    /// Stores the message and, once it is stored, calls `stored` and announces it. A message
    /// that is not stored, or was stored before, is not announced. It is stored only if the
    /// room's rules are still those by which the caller may write.
    ///
    /// # Errors
    /// [`SendMessageError`].
    pub async fn execute(
        &self,
        caller: Caller<'_>,
        sent: SentMessage,
        attempt: Attempt,
        stored: impl FnOnce(),
    ) -> Result<Arc<StoredMessage>, SendMessageError> {
        let permit = caller.access.require_joined()?;
        let has_turn = self.decide(caller, &sent, permit, attempt).await?;
        let message = NewMessage {
            room_id: sent.room_id,
            author: caller.user.clone(),
            content: sent.content,
            client_message_id: sent.client_message_id,
            created_at: self.clock.now(),
            rules: permit.number,
        };
        let appended = self.messages.append(message).await;
        match appended.map_err(|error| SendMessageError::of(error, has_turn))? {
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

    /// Decides whether the caller may write now. Returns whether it has taken its turn in slow
    /// mode. A room without rules is decided without asking any adapter.
    async fn decide(
        &self,
        caller: Caller<'_>,
        sent: &SentMessage,
        permit: Permit,
        attempt: Attempt,
    ) -> Result<bool, SendMessageError> {
        let has_turn = attempt == (Attempt::Again { has_turn: true });
        if let Err(denied) = permit.decide(Action::Write) {
            // A mute may have expired since the permit was read, or been lifted.
            return Err(match attempt {
                Attempt::First => SendMessageError::Outdated { has_turn },
                Attempt::Again { .. } => SendMessageError::Denied(denied),
            });
        }
        let seconds = permit.rules.slow_mode_seconds;
        if has_turn || seconds == 0 || permit.decide(Action::WriteWithoutWaiting).is_ok() {
            return Ok(has_turn);
        }
        let taking = self
            .directory
            .take_turn(sent.room_id, &caller.user.id, seconds);
        match taking.await.map_err(SendMessageError::Storage)? {
            Turn::Taken => Ok(true),
            // Slow mode may have ended since the permit was read.
            Turn::NotDue { .. } if attempt == Attempt::First => {
                Err(SendMessageError::Outdated { has_turn })
            }
            Turn::NotDue { retry_after_ms } => Err(SendMessageError::SlowMode { retry_after_ms }),
        }
    }
}

impl SendMessageError {
    fn of(error: AppendError, has_turn: bool) -> Self {
        match error {
            AppendError::Conflict => Self::Conflict,
            AppendError::RulesChanged => Self::Outdated { has_turn },
            AppendError::Storage(error) => Self::Storage(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use mockall::Sequence;

    use super::*;
    use crate::{
        Access, DisplayName, Forbidden, MessageId, RoomKind, RoomRules, RulesNumber, Seq, Standing,
        Timestamp, Until, User, UserId,
        ports::{MockClock, MockMessageRepository, MockRoomDirectory, MockRoomEvents},
    };

    struct World {
        messages: MockMessageRepository,
        directory: MockRoomDirectory,
        events: MockRoomEvents,
    }

    impl World {
        fn new() -> Self {
            Self {
                messages: MockMessageRepository::new(),
                directory: MockRoomDirectory::new(),
                events: MockRoomEvents::new(),
            }
        }

        /// Sends a message as Ada, whose name is encoded as the whole message.
        async fn send(self, access: Access) -> Result<Arc<StoredMessage>, SendMessageError> {
            self.attempt(access, Attempt::First).await
        }

        async fn attempt(
            self,
            access: Access,
            attempt: Attempt,
        ) -> Result<Arc<StoredMessage>, SendMessageError> {
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
                Arc::new(self.directory),
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
            send.execute(caller, sent, attempt, || ()).await
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
        let stored = world.send(Access::Joined(Permit::OPEN)).await.unwrap();
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
                world.send(Access::Joined(Permit::OPEN)).await,
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
        assert_eq!(
            world
                .send(Access::Joined(Permit::OPEN))
                .await
                .unwrap()
                .seq()
                .get(),
            57
        );

        let mut world = World::new();
        let append = world.messages.expect_append();
        append.once().returning(|_| Err(AppendError::Conflict));
        assert!(matches!(
            world.send(Access::Joined(Permit::OPEN)).await,
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

    /// A user in an open room with rules of number 7.
    fn permit(rules: RoomRules, standing: Standing) -> Access {
        Access::Joined(Permit {
            number: RulesNumber::new(7),
            rules,
            standing,
        })
    }

    #[pollster::test]
    async fn a_message_carries_the_number_of_the_rules_that_allow_it() {
        let Permit {
            rules, standing, ..
        } = Permit::OPEN;
        let mut world = World::new();
        world.messages.expect_append().once().returning(|new| {
            assert_eq!(new.rules, RulesNumber::new(7));
            Err(AppendError::RulesChanged)
        });
        assert!(matches!(
            world.send(permit(rules, standing)).await,
            Err(SendMessageError::Outdated { has_turn: false })
        ));
    }

    #[pollster::test]
    async fn what_a_permit_refuses_is_decided_again_before_it_is_denied() {
        let muted = Standing {
            muted: Some(Until::Lifted),
            ..Permit::OPEN.standing
        };
        let access = permit(Permit::OPEN.rules, muted);
        assert!(matches!(
            World::new().attempt(access, Attempt::First).await,
            Err(SendMessageError::Outdated { has_turn: false })
        ));
        let again = Attempt::Again { has_turn: false };
        assert!(matches!(
            World::new().attempt(access, again).await,
            Err(SendMessageError::Denied(AccessDenied::Forbidden(
                Forbidden::Muted(Until::Lifted)
            )))
        ));
    }

    #[pollster::test]
    async fn a_turn_in_slow_mode_is_taken_once_for_a_message() {
        let slow = RoomRules {
            kind: RoomKind::Open,
            frozen: false,
            slow_mode_seconds: 30,
        };
        let access = permit(slow, Permit::OPEN.standing);
        let mut world = World::new();
        let take_turn = world.directory.expect_take_turn();
        take_turn.once().returning(|_, _, seconds| {
            assert_eq!(seconds, 30);
            Ok(Turn::Taken)
        });
        let append = world.messages.expect_append();
        append.returning(|_| Err(AppendError::RulesChanged));
        assert!(matches!(
            world.send(access).await,
            Err(SendMessageError::Outdated { has_turn: true })
        ));

        let mut world = World::new();
        let append = world.messages.expect_append();
        append.once().returning(|_| Err(AppendError::Conflict));
        let again = Attempt::Again { has_turn: true };
        assert!(matches!(
            world.attempt(access, again).await,
            Err(SendMessageError::Conflict)
        ));

        let mut world = World::new();
        let take_turn = world.directory.expect_take_turn();
        let retry_after_ms = 1500;
        take_turn.returning(move |_, _, _| Ok(Turn::NotDue { retry_after_ms }));
        let again = Attempt::Again { has_turn: false };
        assert!(matches!(
            world.attempt(access, again).await,
            Err(SendMessageError::SlowMode {
                retry_after_ms: 1500
            })
        ));
    }
}
