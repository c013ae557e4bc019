//! Which changes a page has, and which reactions in it are the reader's.

use super::*;
use crate::use_cases::change_message::tests::message;
use crate::{
    ChangeKind, ChangedMessage, Generation, Permit, ReactionCount, ReactionKey, Seq,
    ports::{ChangesPage, MockChangeRepository},
};

fn changed(seq: u64, rev: u64, reactions: &[&str]) -> ChangedMessage {
    let mut message = message("42");
    message.seq = Seq::new(seq).unwrap();
    let changes = message.changes.as_mut().unwrap();
    changes.rev = Rev::new(rev).unwrap();
    let counts = reactions.iter().map(|key| ReactionCount {
        key: ReactionKey::new(*key).unwrap(),
        count: 2,
    });
    changes.reactions = counts.collect();
    ChangedMessage {
        message,
        kind: ChangeKind::Reactions,
        by: None,
        previous: Rev::START,
    }
}

fn changes(messages: Vec<ChangedMessage>) -> MockChangeRepository {
    of_page(ChangesPage {
        messages,
        has_more: true,
        newest: Rev::new(20).unwrap(),
        generation: Generation::FIRST,
    })
}

fn of_page(page: ChangesPage) -> MockChangeRepository {
    let mut changes = MockChangeRepository::new();
    let asked = changes.expect_changed_after();
    asked
        .withf(|_, after, up_to, limit| (after.get(), up_to, limit.messages) == (4, &None, 50))
        .returning(move |_, _, _, _| Ok(page.clone()));
    changes
}

/// Reads as user 42 after change 4; a message is encoded as its own reactions.
async fn list(
    changes: MockChangeRepository,
    access: Access,
    encode: EncodeMessageFor,
) -> Result<ChangesRead, ListMessagesError> {
    let list = ListChanges::new(Arc::new(changes), encode);
    let reader = UserId::new("42").unwrap();
    let (room, after) = (RoomId::new(1).unwrap(), Rev::new(4).unwrap());
    list.execute(access, Some(&reader), room, after, PageLimit::default())
        .await
}

fn own(_: &Message, own: &[ReactionKey]) -> Box<str> {
    let keys: Vec<_> = own.iter().map(ReactionKey::as_str).collect();
    keys.join(",").into()
}

const JOINED: Access = Access::Joined(Permit::OPEN);

#[pollster::test]
async fn the_readers_own_reactions_are_asked_for_messages_that_have_some() {
    let found = vec![
        changed(3, 5, &[]),
        changed(1, 6, &["a", "b"]),
        changed(2, 8, &["a"]),
    ];
    let mut changes = changes(found);
    changes
        .expect_own_reactions()
        .once()
        .withf(|_, reader, seqs| {
            let seqs: Vec<_> = seqs.iter().map(|seq| seq.get()).collect();
            (reader.as_str(), &seqs[..]) == ("42", &[1, 2])
        })
        .returning(|_, _, _| Ok(vec![(Seq::new(1).unwrap(), ReactionKey::new("b").unwrap())]));
    let read = list(changes, JOINED, own).await.unwrap();
    let encoded = read.page.messages.iter().map(|message| message.encoded());
    assert_eq!(encoded.collect::<Vec<_>>(), ["", "b", ""]);
    assert_eq!((read.last.get(), read.newest.get()), (8, 20));
    assert!(read.page.has_more);
}

#[pollster::test]
async fn an_empty_page_ends_where_it_starts() {
    let read = list(changes(Vec::new()), JOINED, own).await.unwrap();
    assert_eq!(read.last.get(), 4);
}

#[pollster::test]
async fn after_a_number_that_the_room_does_not_have_there_is_nothing() {
    let page = ChangesPage {
        newest: Rev::new(3).unwrap(),
        ..ChangesPage::default()
    };
    let read = list(of_page(page), JOINED, own).await.unwrap();
    assert!(read.page.messages.is_empty() && !read.page.has_more);
    // The reader is not led back to numbers that it has seen.
    assert_eq!((read.last.get(), read.newest.get()), (4, 3));
}

#[pollster::test]
async fn a_page_of_large_messages_ends_early() {
    let large: EncodeMessageFor = |_, _| "x".repeat(Page::MAX_BYTES / 2 + 1).into();
    let found = vec![changed(3, 5, &[]), changed(1, 6, &[])];
    let read = list(changes(found), JOINED, large).await.unwrap();
    assert_eq!((read.page.messages.len(), read.last.get()), (1, 5));
}

#[pollster::test]
async fn nothing_is_read_of_a_room_that_was_not_joined_and_nothing_told_of_another_generation() {
    let nothing = MockChangeRepository::new();
    assert!(matches!(
        list(nothing, Access::NotJoined, own).await,
        Err(ListMessagesError::Denied(AccessDenied::NotInRoom))
    ));
    let earlier = Access::Joined(Permit {
        generation: Generation::new(8),
        ..Permit::OPEN
    });
    assert!(matches!(
        list(changes(Vec::new()), earlier, own).await,
        Err(ListMessagesError::Denied(AccessDenied::NotFound))
    ));
}
