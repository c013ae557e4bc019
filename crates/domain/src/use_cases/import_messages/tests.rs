use super::*;
use crate::ports::{
    Imported, LogPage, MockMessageImport, MockMessageRepository, MockRoomDirectory, MockRoomEvents,
    RoomSnapshot,
};
use crate::{Generation, Message, MessageId, RulesNumber, Seq};

fn room() -> RoomId {
    RoomId::new(7).unwrap()
}

fn line(content: &str, name: Option<&str>) -> ImportedMessage {
    ImportedMessage {
        user_id: UserId::new("42").unwrap(),
        name: name.map(DisplayName::from_text),
        content: Content::new(content).unwrap(),
        extras: None,
        client_message_id: None,
        created_at: Timestamp::from_unix_millis(1),
    }
}

fn stored(messages: Vec<NewMessage>, from: u64) -> Vec<Message> {
    let numbered = messages.into_iter().zip(from..);
    let stored =
        numbered.map(|(message, n)| message.stored(MessageId::new(1), Seq::new(n).unwrap()));
    stored.collect()
}

fn snapshot(rules: u64, generation: u64) -> RoomSnapshot {
    RoomSnapshot {
        rules: RulesNumber::new(rules),
        generation: Generation::new(generation),
        settings: None,
        owners: 0,
        users: Vec::new(),
    }
}

fn begin(
    import: MockMessageImport,
    directory: MockRoomDirectory,
    events: MockRoomEvents,
) -> RoomImport {
    begin_in(MockMessageRepository::new(), import, directory, events)
}

fn begin_in(
    messages: MockMessageRepository,
    import: MockMessageImport,
    directory: MockRoomDirectory,
    events: MockRoomEvents,
) -> RoomImport {
    let encode: EncodeMessage = |message| message.content.as_str().into();
    let target = ImportMessages::new(
        Arc::new(import),
        Arc::new(messages),
        Arc::new(directory),
        Arc::new(events),
        encode,
    );
    target.begin(room())
}

#[pollster::test]
async fn what_is_left_of_a_batch_is_stored_under_changed_rules_and_the_newest_is_announced() {
    let mut import = MockMessageImport::new();
    import
        .expect_import()
        .withf(|batch, _| batch.len() == 3 && batch[0].rules == RulesNumber::NONE)
        .once()
        .returning(|batch, _| Imported {
            stored: stored(batch[..1].to_vec(), 1),
            repeated: 0,
            failed: Some(AppendError::RulesChanged.into()),
        });
    import
        .expect_import()
        .withf(|batch, _| batch.len() == 2 && batch[0].rules == RulesNumber::new(3))
        .once()
        .returning(|batch, _| Imported {
            stored: stored(batch[..1].to_vec(), 2),
            repeated: 1,
            failed: None,
        });
    let mut directory = MockRoomDirectory::new();
    directory
        .expect_snapshot()
        .once()
        .returning(|_, _| Ok(snapshot(3, 0)));
    let mut events = MockRoomEvents::new();
    for seq in [1, 2] {
        let announced = move |hint: &Hint| match &hint.entry {
            RoomEntry::Message(message) => message.seq().get() == seq,
            _ => false,
        };
        let announce = events.expect_announce().withf(announced).once();
        announce.return_const(());
    }
    let mut importing = begin(import, directory, events);
    let lines = ["a", "b", "c"].map(|text| line(text, Some("Ada")));
    importing.store(lines.to_vec()).await.unwrap();
    assert_eq!((importing.stored(), importing.repeated()), (2, 1));
}

#[pollster::test]
async fn a_name_that_is_not_given_is_looked_up_once() {
    let mut import = MockMessageImport::new();
    import
        .expect_import()
        .withf(|batch, _| batch.iter().all(|m| m.author.name.as_str() == "Ada"))
        .once()
        .returning(|batch, _| Imported {
            stored: stored(batch, 1),
            repeated: 0,
            failed: None,
        });
    let mut directory = MockRoomDirectory::new();
    let read = directory.expect_user_name().once();
    read.returning(|_| Ok(Some(DisplayName::from_text("Ada"))));
    let mut events = MockRoomEvents::new();
    events.expect_announce().return_const(());
    let mut importing = begin(import, directory, events);
    let lines = vec![line("a", None), line("b", None)];
    importing.store(lines).await.unwrap();
}

#[pollster::test]
async fn a_room_that_is_being_deleted_takes_no_import() {
    let mut import = MockMessageImport::new();
    import.expect_import().once().returning(|_, _| Imported {
        stored: Vec::new(),
        repeated: 0,
        failed: Some(AppendError::RulesChanged.into()),
    });
    let mut directory = MockRoomDirectory::new();
    let read = directory.expect_snapshot().once();
    read.returning(|_, _| Ok(snapshot(3, 4)));
    let mut importing = begin(import, directory, MockRoomEvents::new());
    let refused = importing.store(vec![line("a", Some("Ada"))]).await;
    assert!(matches!(refused, Err(ImportError::Closed)));
}

fn reply(content: &str, reply_to: u64) -> ImportedMessage {
    let extras = MessageExtras {
        reply_to: Seq::new(reply_to).ok(),
        ..MessageExtras::default()
    };
    ImportedMessage {
        extras: extras.boxed(),
        ..line(content, Some("Ada"))
    }
}

/// Stores one message, which gets this number, and refuses the next one as a reply. Then takes what
/// is left, if `newest` is known to exist.
fn refusing_a_reply(newest: Option<u64>) -> MockMessageImport {
    let mut import = MockMessageImport::new();
    import
        .expect_import()
        .withf(|batch, newest| batch.len() == 2 && *newest == Seq::START)
        .once()
        .returning(|batch, _| Imported {
            stored: stored(batch[..1].to_vec(), 5),
            repeated: 0,
            failed: Some(ImportFailure::UnknownReplyTo),
        });
    if let Some(newest) = newest {
        import
            .expect_import()
            .withf(move |batch, known| batch.len() == 1 && known.get() == newest)
            .once()
            .returning(|batch, _| Imported {
                stored: stored(batch, 10),
                repeated: 0,
                failed: None,
            });
    }
    import
}

#[pollster::test]
async fn a_reply_to_a_message_before_it_needs_no_read() {
    let mut events = MockRoomEvents::new();
    events.expect_announce().return_const(());
    let mut importing = begin(refusing_a_reply(Some(5)), MockRoomDirectory::new(), events);
    let lines = vec![line("a", Some("Ada")), reply("b", 5)];
    importing.store(lines).await.unwrap();
    assert_eq!(importing.stored(), 2);
}

#[pollster::test]
async fn a_reply_to_a_message_that_others_may_have_sent_is_looked_up() {
    for found in [true, false] {
        let mut messages = MockMessageRepository::new();
        messages
            .expect_after()
            .withf(|_, after, limit| after.get() == 8 && limit.messages == 1)
            .once()
            .returning(move |_, _, _| {
                let found = found.then(|| NewMessage {
                    room_id: room(),
                    author: User {
                        id: UserId::new("7").unwrap(),
                        name: DisplayName::from_text("Grace"),
                    },
                    content: Content::new("beside it").unwrap(),
                    extras: None,
                    client_message_id: None,
                    created_at: Timestamp::from_unix_millis(1),
                    rules: RulesNumber::NONE,
                });
                Ok(LogPage {
                    messages: stored(found.into_iter().collect(), 9),
                    ..LogPage::default()
                })
            });
        let mut events = MockRoomEvents::new();
        events.expect_announce().return_const(());
        let import = refusing_a_reply(found.then_some(9));
        let mut importing = begin_in(messages, import, MockRoomDirectory::new(), events);
        let lines = vec![line("a", Some("Ada")), reply("b", 9)];
        let outcome = importing.store(lines).await;
        assert_eq!(outcome.is_ok(), found);
        if !found {
            assert!(matches!(outcome, Err(ImportError::UnknownReplyTo)));
            assert_eq!(importing.stored(), 1);
        }
    }
}
