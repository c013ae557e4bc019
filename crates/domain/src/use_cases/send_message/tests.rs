//! When a message is sent, and what is announced.

use mockall::Sequence;

use super::*;
use crate::{
    Access, DisplayName, Forbidden, Generation, MessageId, RoomKind, RoomRules, RulesNumber, Seq,
    Standing, Timestamp, Until, User, UserId,
    ports::{MockClock, MockMessageRepository, MockRoomDirectory, MockRoomEvents},
};

const SLOW: RoomRules = RoomRules {
    kind: RoomKind::Open,
    frozen: false,
    slow_mode_seconds: 30,
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
            extras: None,
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
        generation: Generation::FIRST,
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
    let access = permit(SLOW, Permit::OPEN.standing);
    let mut world = World::new();
    let take_turn = world.directory.expect_take_turn();
    take_turn.once().returning(|_, _, seconds, _| {
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
    take_turn.returning(move |_, _, _, _| Ok(Turn::NotDue { retry_after_ms }));
    let again = Attempt::Again { has_turn: false };
    assert!(matches!(
        world.attempt(access, again).await,
        Err(SendMessageError::SlowMode {
            retry_after_ms: 1500
        })
    ));
}

#[pollster::test]
async fn a_repeat_needs_no_turn_in_slow_mode() {
    let mut world = World::new();
    let take_turn = world.directory.expect_take_turn();
    take_turn.once().returning(|_, _, _, _| Ok(Turn::NotNeeded));
    let append = world.messages.expect_append();
    append.once().returning(|new| {
        let stored = new.stored(MessageId::new(812), Seq::new(57).unwrap());
        Ok(Appended::Repeat(stored))
    });
    let repeat = world.send(permit(SLOW, Permit::OPEN.standing)).await;
    assert_eq!(repeat.unwrap().seq().get(), 57);
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
            extras: None,
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
        generation: Generation::FIRST,
        settings: None,
        owners: 0,
        users: Vec::new(),
    }
}

#[pollster::test]
async fn the_product_cannot_post_in_a_room_that_is_being_deleted() {
    let mut world = World::new();
    let append = world.messages.expect_append().once();
    append.returning(|_| Err(AppendError::RulesChanged));
    let snapshot = world.directory.expect_snapshot().once();
    snapshot.returning(|_, _| {
        Ok(crate::ports::RoomSnapshot {
            generation: Generation::new(4),
            ..snapshot_at(3)
        })
    });
    let refused = post(&use_case(world), Some("Ada")).await;
    assert!(matches!(refused, Err(SendMessageError::Closed)));
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
