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

/// A use case over a log whose read after position 6 returns the message at this position.
fn replying(found: Option<u64>, appends: usize) -> SendMessage {
    let mut messages = MockMessageRepository::new();
    messages
        .expect_after()
        .withf(|_, position, limit| position.get() == 6 && limit.messages == 1)
        .returning(move |room_id, _, _| {
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
            Ok(LogPage {
                messages: found.map(at).into_iter().collect(),
                ..LogPage::default()
            })
        });
    messages.expect_append().times(appends).returning(|new| {
        assert_eq!(new.extras, reply(7).extras);
        Ok(Appended::Stored(
            new.stored(MessageId::new(2), Seq::new(9).unwrap()),
        ))
    });
    let mut events = MockRoomEvents::new();
    events.expect_announce().times(appends).return_const(());
    let mut clock = MockClock::new();
    clock
        .expect_now()
        .return_const(Timestamp::from_unix_millis(1000));
    SendMessage::new(
        Arc::new(messages),
        Arc::new(MockRoomDirectory::new()),
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
