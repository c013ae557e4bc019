//! To which messages one can reply.

use super::*;
use crate::{
    Access, MessageId, RulesNumber, Timestamp,
    ports::{LogPage, MockClock, MockMessageRepository, MockRoomDirectory, MockRoomEvents},
};

fn ada() -> User {
    User {
        id: UserId::new("42").unwrap(),
        name: DisplayName::from_text("Ada"),
    }
}

fn reply(seq: u64) -> SentMessage {
    SentMessage {
        room_id: RoomId::new(1).unwrap(),
        content: Content::new("hello").unwrap(),
        extras: MessageExtras {
            reply_to: Some(Seq::new(seq).unwrap()),
            ..MessageExtras::default()
        }
        .boxed(),
        client_message_id: None,
    }
}

/// A page with the message at this position, if there is one.
fn page(room_id: RoomId, found: Option<u64>) -> LogPage {
    let at = |seq| {
        let new = NewMessage {
            room_id,
            author: ada(),
            content: Content::new("first").unwrap(),
            extras: None,
            client_message_id: None,
            created_at: Timestamp::from_unix_millis(1),
            rules: RulesNumber::NONE,
        };
        new.stored(MessageId::new(1), Seq::new(seq).unwrap())
    };
    LogPage {
        messages: found.map(at).into_iter().collect(),
        ..LogPage::default()
    }
}

/// A use case over a log whose read after position 6 returns the message at this position.
fn replying(found: Option<u64>, appends: usize) -> SendMessage {
    let mut messages = MockMessageRepository::new();
    messages
        .expect_after()
        .withf(|_, position, limit| position.get() == 6 && limit.messages == 1)
        .returning(move |room_id, _, _| Ok(page(room_id, found)));
    messages.expect_append().times(appends).returning(|new| {
        assert_eq!(new.extras, reply(7).extras);
        Ok(Appended::Stored(
            new.stored(MessageId::new(2), Seq::new(9).unwrap()),
        ))
    });
    let mut events = MockRoomEvents::new();
    events.expect_announce().times(appends).return_const(());
    use_case(messages, MockRoomDirectory::new(), events)
}

fn use_case(
    messages: MockMessageRepository,
    directory: MockRoomDirectory,
    events: MockRoomEvents,
) -> SendMessage {
    let mut clock = MockClock::new();
    clock
        .expect_now()
        .return_const(Timestamp::from_unix_millis(1000));
    SendMessage::new(
        Arc::new(messages),
        Arc::new(directory),
        Arc::new(events),
        Arc::new(clock),
        |message| message.content.as_str().into(),
    )
}

async fn as_user(send: SendMessage, sent: SentMessage) -> Result<(), SendMessageError> {
    let user = ada();
    let caller = Caller {
        user: &user,
        access: Access::Joined(Permit::OPEN),
    };
    let sending = send.execute(caller, sent, Attempt::First, || ());
    sending.await.map(drop)
}

async fn as_product(send: SendMessage, sent: SentMessage) -> Result<(), SendMessageError> {
    let message = ProductMessage {
        user_id: ada().id,
        name: Some(ada().name),
        sent,
    };
    send.execute_as_product(message, || ()).await.map(drop)
}

#[pollster::test]
async fn a_reply_to_an_existing_message_is_stored() {
    as_user(replying(Some(7), 1), reply(7)).await.unwrap();
    as_product(replying(Some(7), 1), reply(7)).await.unwrap();
}

#[pollster::test]
async fn a_reply_to_no_message_is_not_stored() {
    for found in [None, Some(8)] {
        let outcome = as_user(replying(found, 0), reply(7)).await;
        assert!(matches!(outcome, Err(SendMessageError::UnknownReplyTo)));
        let outcome = as_product(replying(found, 0), reply(7)).await;
        assert!(matches!(outcome, Err(SendMessageError::UnknownReplyTo)));
    }
    let outcome = as_user(replying(None, 0), reply(0)).await;
    assert!(matches!(outcome, Err(SendMessageError::UnknownReplyTo)));
}

/// The room may have been deleted, and have begun anew.
#[pollster::test]
async fn the_message_is_looked_up_again_once_the_rules_have_changed() {
    let mut messages = MockMessageRepository::new();
    let mut order = mockall::Sequence::new();
    let found = [Some(7), None];
    for (found, append) in found.into_iter().zip([true, false]) {
        messages
            .expect_after()
            .once()
            .in_sequence(&mut order)
            .returning(move |room_id, _, _| Ok(page(room_id, found)));
        if append {
            let append = messages.expect_append().once().in_sequence(&mut order);
            append.returning(|_| Err(AppendError::RulesChanged));
        }
    }
    let mut directory = MockRoomDirectory::new();
    directory.expect_snapshot().once().returning(|_, _| {
        Ok(crate::ports::RoomSnapshot {
            rules: RulesNumber::new(3),
            generation: crate::Generation::FIRST,
            settings: None,
            owners: 0,
            users: Vec::new(),
        })
    });
    let send = use_case(messages, directory, MockRoomEvents::new());
    let outcome = as_product(send, reply(7)).await;
    assert!(matches!(outcome, Err(SendMessageError::UnknownReplyTo)));
}
