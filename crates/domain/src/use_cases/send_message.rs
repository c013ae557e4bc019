//! A user sends a message to a room.

use std::sync::Arc;

use super::known_rules::KnownRules;
use crate::{
    AccessDenied, Action, Caller, ClientMessageId, Content, DisplayName, EncodeMessage, NewMessage,
    Permit, RoomEntry, RoomId, RulesNumber, StorageError, StoredMessage, User, UserId,
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
    known_rules: Arc<KnownRules>,
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

/// A message that the product sends as a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductMessage {
    /// The user.
    pub user_id: UserId,
    /// The user's name from now on; `None`: the latest stored one.
    pub name: Option<DisplayName>,
    /// The message.
    pub sent: SentMessage,
}

/// What has become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// It is stored now.
    Stored(Arc<StoredMessage>),
    /// It had been stored before, like this.
    Repeat(Arc<StoredMessage>),
}

/// How often a message of the product is sent again because the rules change meanwhile.
const ATTEMPTS: usize = 5;

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
            known_rules: Arc::default(),
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
        let posted = self.post(caller.user.clone(), sent, permit.number, stored);
        match posted.await {
            Ok(Posted::Stored(message) | Posted::Repeat(message)) => Ok(message),
            Err(error) => Err(SendMessageError::of(error, has_turn)),
        }
    }

    /// Stores a message that the product sends as a user, whom no rule binds, and announces it.
    /// A message under an id that the user has already used, over whatever transport, is a
    /// repeat. `stored` is called once the message is stored, but not for a repeat.
    ///
    /// # Errors
    /// [`SendMessageError::Conflict`], [`SendMessageError::Storage`], and
    /// [`SendMessageError::Outdated`] if the rules change without pause.
    pub async fn execute_as_product(
        &self,
        message: ProductMessage,
        stored: impl Fn(),
    ) -> Result<Posted, SendMessageError> {
        let ProductMessage {
            user_id,
            name,
            sent,
        } = message;
        let name = match name {
            Some(name) => name,
            None => self.name_of(&user_id).await?,
        };
        let author = User { id: user_id, name };
        let mut number = self.known_rules.get(sent.room_id);
        for _ in 0..ATTEMPTS {
            let posted = self.post(author.clone(), sent.clone(), number, &stored);
            match posted.await {
                Err(AppendError::RulesChanged) => {}
                outcome => return outcome.map_err(|error| SendMessageError::of(error, false)),
            }
            let snapshot = self.directory.snapshot(sent.room_id, &[]).await;
            number = snapshot.map_err(SendMessageError::Storage)?.rules;
            self.known_rules.set(sent.room_id, number);
        }
        Err(SendMessageError::Outdated { has_turn: false })
    }

    /// Returns the user's latest stored name, or else its id. The append stores the author's
    /// name, and must not replace one that is known.
    async fn name_of(&self, user_id: &UserId) -> Result<DisplayName, SendMessageError> {
        let name = self.directory.user_name(user_id).await;
        let name = name.map_err(SendMessageError::Storage)?;
        Ok(name.unwrap_or_else(|| DisplayName::from_text(user_id.as_str())))
    }

    /// Appends a message that was decided by this number of rules, and announces it.
    async fn post(
        &self,
        author: User,
        sent: SentMessage,
        number: RulesNumber,
        stored: impl FnOnce(),
    ) -> Result<Posted, AppendError> {
        let message = NewMessage {
            room_id: sent.room_id,
            author,
            content: sent.content,
            client_message_id: sent.client_message_id,
            created_at: self.clock.now(),
            rules: number,
        };
        match self.messages.append(message).await? {
            Appended::Stored(message) => {
                stored();
                let message = Arc::new(StoredMessage::encode(&message, self.encode));
                self.events.announce(Hint {
                    room_id: sent.room_id,
                    entry: RoomEntry::Message(message.clone()),
                });
                Ok(Posted::Stored(message))
            }
            Appended::Repeat(message) => {
                let message = StoredMessage::encode(&message, self.encode);
                Ok(Posted::Repeat(Arc::new(message)))
            }
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

    /// Sends a message of the product, which gives this name, as user 42.
    async fn post(
        use_case: &SendMessage,
        name: Option<&str>,
    ) -> Result<(Posted, usize), SendMessageError> {
        let message = ProductMessage {
            user_id: UserId::new("42").unwrap(),
            name: name.map(DisplayName::from_text),
            sent: SentMessage {
                room_id: RoomId::new(1).unwrap(),
                content: Content::new("hello").unwrap(),
                client_message_id: None,
            },
        };
        let stored = std::cell::Cell::new(0);
        let posted = use_case.execute_as_product(message, || stored.set(stored.get() + 1));
        let posted = posted.await?;
        Ok((posted, stored.get()))
    }

    fn use_case(world: World) -> SendMessage {
        let mut clock = MockClock::new();
        let now = Timestamp::from_unix_millis(1000);
        clock.expect_now().return_const(now);
        SendMessage::new(
            Arc::new(world.messages),
            Arc::new(world.directory),
            Arc::new(world.events),
            Arc::new(clock),
            |message| message.author.name.as_str().into(),
        )
    }

    fn decided_by(number: u64) -> impl Fn(&NewMessage) -> bool {
        move |message| message.rules == RulesNumber::new(number)
    }

    fn stored_as_first(message: NewMessage) -> Result<Appended, AppendError> {
        let seq = Seq::new(1).unwrap();
        Ok(Appended::Stored(message.stored(MessageId::new(7), seq)))
    }

    /// The room is frozen, and nothing looks whether the user may write.
    #[pollster::test]
    async fn the_product_is_bound_by_no_rule_but_its_messages_are_decided_by_the_newest() {
        let mut world = World::new();
        let mut order = Sequence::new();
        let append = world
            .messages
            .expect_append()
            .once()
            .in_sequence(&mut order);
        append
            .withf(decided_by(0))
            .returning(|_| Err(AppendError::RulesChanged));
        let snapshot = world
            .directory
            .expect_snapshot()
            .once()
            .in_sequence(&mut order);
        snapshot
            .withf(|_, users| users.is_empty())
            .returning(|_, _| Ok(snapshot_at(3)));
        // The number is remembered: the second message needs no read.
        let append = world
            .messages
            .expect_append()
            .times(2)
            .in_sequence(&mut order);
        append.withf(decided_by(3)).returning(stored_as_first);
        world.events.expect_announce().times(2).return_const(());
        let use_case = use_case(world);
        for _ in 0..2 {
            let (posted, stored) = post(&use_case, Some("Ada")).await.unwrap();
            assert!(matches!(posted, Posted::Stored(_)));
            assert_eq!(stored, 1);
        }
    }

    fn snapshot_at(number: u64) -> crate::ports::RoomSnapshot {
        crate::ports::RoomSnapshot {
            rules: RulesNumber::new(number),
            settings: None,
            owners: 0,
            users: Vec::new(),
        }
    }

    #[pollster::test]
    async fn rules_that_change_without_pause_end_the_attempts() {
        let mut world = World::new();
        let append = world.messages.expect_append().times(ATTEMPTS);
        append.returning(|_| Err(AppendError::RulesChanged));
        let snapshot = world.directory.expect_snapshot();
        snapshot.returning(|_, _| Ok(snapshot_at(3)));
        let refused = post(&use_case(world), Some("Ada")).await;
        assert!(matches!(refused, Err(SendMessageError::Outdated { .. })));
    }

    #[pollster::test]
    async fn a_user_without_a_given_name_keeps_the_known_one_or_has_its_id() {
        for (known, expected) in [(Some("Ada"), "Ada"), (None, "42")] {
            let mut world = World::new();
            let name = world.directory.expect_user_name().once();
            name.returning(move |_| Ok(known.map(DisplayName::from_text)));
            world.messages.expect_append().returning(stored_as_first);
            world.events.expect_announce().return_const(());
            let (posted, _) = post(&use_case(world), None).await.unwrap();
            let Posted::Stored(message) = posted else {
                panic!("it was not stored before");
            };
            assert_eq!(message.encoded(), expected);
        }
        let mut world = World::new();
        let name = world.directory.expect_user_name();
        name.returning(|_| Err(StorageError::unavailable("down")));
        let refused = post(&use_case(world), None).await;
        assert!(matches!(refused, Err(SendMessageError::Storage(_))));
    }

    #[pollster::test]
    async fn a_repeat_of_the_product_is_not_announced() {
        let mut world = World::new();
        world.messages.expect_append().returning(|message| {
            let seq = Seq::new(1).unwrap();
            Ok(Appended::Repeat(message.stored(MessageId::new(7), seq)))
        });
        let (posted, stored) = post(&use_case(world), Some("Ada")).await.unwrap();
        assert!(matches!(posted, Posted::Repeat(_)));
        assert_eq!(stored, 0);
    }
}
