//! The contract of [`ChangeRepository`]: what a change does, and when it is refused.

use chat_domain::ports::{
    Appended, ChangeRepository, MadeChange, MessageChange, MessageChangeError, MessageRepository,
    RoomDirectory, RoomRepository,
};
use chat_domain::{
    ChangeKind, Content, MessageEdit, ReactionCount, ReactionKey, Rev, RoomId, RulesNumber, Seq,
    UserId,
};

use crate::room_directory::freeze;
use crate::{append, by, hello, room, seq, under, up_to, with_id};

pub(crate) trait Store:
    MessageRepository + RoomRepository + RoomDirectory + ChangeRepository + Clone + 'static
{
}
impl<S> Store for S where
    S: MessageRepository + RoomRepository + RoomDirectory + ChangeRepository + Clone + 'static
{
}

crate::on_each_database!(
    an_edit_replaces_the_text,
    a_deletion_is_final,
    an_erasure_leaves_an_empty_shell,
    what_is_already_so_writes_nothing,
    a_message_that_does_not_exist_is_not_found,
    rules_are_compared_exactly,
    changes_of_rooms_are_numbered_apart,
    a_change_moves_neither_the_log_nor_its_activity,
);

pub(crate) fn rev(number: u64) -> Rev {
    Rev::new(number).unwrap()
}

pub(crate) fn key(text: &str) -> ReactionKey {
    ReactionKey::new(text).unwrap()
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn edit(text: &str) -> MessageEdit {
    MessageEdit::Edit(Content::new(text).unwrap())
}

pub(crate) fn react(user_id: &str, text: &str, on: bool) -> MessageEdit {
    MessageEdit::React {
        user_id: user(user_id),
        key: key(text),
        on,
    }
}

/// Changes a message of a room without rules, on behalf of the user `1`.
pub(crate) async fn change(
    store: &impl ChangeRepository,
    room_id: RoomId,
    position: u64,
    edit: MessageEdit,
) -> Result<MadeChange, MessageChangeError> {
    let change = MessageChange {
        room_id,
        seq: seq(position),
        edit,
        by: Some(user("1")),
        rules: RulesNumber::NONE,
    };
    store.change(change).await
}

/// Makes a change that is new.
pub(crate) async fn make(
    store: &impl ChangeRepository,
    room_id: RoomId,
    position: u64,
    edit: MessageEdit,
) -> chat_domain::Message {
    let made = change(store, room_id, position, edit).await.unwrap();
    assert!(made.is_new, "{made:?}");
    made.message
}

pub(crate) fn counts(message: &chat_domain::Message) -> Vec<(String, u64)> {
    let reactions = message.changes.iter().flat_map(|c| c.reactions.iter());
    let pair = |r: &ReactionCount| (r.key.as_str().to_owned(), r.count);
    reactions.map(pair).collect()
}

pub(crate) async fn newest_rev(store: &impl Store, room_id: RoomId) -> Rev {
    let state = store.read_state(room_id, &user("1")).await.unwrap();
    let newest = store.newest(&[room_id]).await.unwrap();
    assert_eq!(newest[0].rev, state.rev);
    state.rev
}

async fn an_edit_replaces_the_text(store: &impl Store) {
    let sent = with_id(by("42", "Ada", room(1), "hello"), "c0ffee");
    let before = append(store, sent).await.unwrap();
    assert_eq!(before.changes, None);
    let stored = store.message(room(1), seq(1)).await.unwrap();
    assert_eq!(stored, Some(before.clone()));
    append(store, by("42", "Ada L.", room(1), "other"))
        .await
        .unwrap();

    let text = "  e\u{301} \u{202e}\u{1}\r\n🦀'\"\\";
    let first = make(store, room(1), 1, edit(text)).await;
    assert_eq!(first.content.as_str(), text);
    let changes = first.changes.clone().unwrap();
    assert_eq!(changes.rev, rev(1));
    let edited_at = changes.edited_at.unwrap();
    assert!(changes.deleted_at.is_none() && changes.erased_at.is_none());
    assert!(changes.reactions.is_empty());
    assert_eq!(first.author.name.as_str(), "Ada L.");
    // Everything else is as before.
    let expected = chat_domain::Message {
        content: first.content.clone(),
        changes: first.changes.clone(),
        author: first.author.clone(),
        ..before.clone()
    };
    assert_eq!(first, expected);
    assert_eq!(store.message(room(1), seq(1)).await.unwrap(), Some(first));

    let second = make(store, room(1), 1, edit("hello")).await;
    assert_eq!(second.content, before.content);
    let changes = second.changes.unwrap();
    assert_eq!(changes.rev, rev(2));
    assert!(changes.edited_at.unwrap() >= edited_at);
    // The other message is as before.
    let other = store.message(room(1), seq(2)).await.unwrap().unwrap();
    assert_eq!((other.content.as_str(), other.changes), ("other", None));
    assert_eq!(newest_rev(store, room(1)).await, rev(2));
}

async fn a_deletion_is_final(store: &impl Store) {
    let sent = with_id(by("42", "Ada", room(1), "hello"), "c0ffee");
    let before = append(store, sent.clone()).await.unwrap();
    make(store, room(1), 1, edit("secret")).await;
    make(store, room(1), 1, react("7", "+", true)).await;
    let deleted = make(store, room(1), 1, MessageEdit::Delete).await;
    let changes = deleted.changes.clone().unwrap();
    assert_eq!(deleted.content, Content::deleted());
    assert_eq!(deleted.author, before.author);
    assert_eq!(deleted.client_message_id, before.client_message_id);
    assert!(changes.deleted_at.is_some() && changes.edited_at.is_some());
    assert_eq!((changes.rev, changes.reactions.len()), (rev(3), 0));
    let users = store.reacting_users(room(1), seq(1), key("+"), None, 10);
    assert!(users.await.unwrap().users.is_empty());

    let again = change(store, room(1), 1, MessageEdit::Delete)
        .await
        .unwrap();
    assert_eq!((again.message, again.is_new), (deleted.clone(), false));
    for refused in [edit("x"), react("7", "+", true), react("7", "+", false)] {
        let outcome = change(store, room(1), 1, refused).await;
        assert!(
            matches!(outcome, Err(MessageChangeError::Deleted)),
            "{outcome:?}"
        );
    }
    let stored = store.message(room(1), seq(1)).await.unwrap();
    assert_eq!(stored, Some(deleted.clone()));
    assert_eq!(newest_rev(store, room(1)).await, rev(3));
    // Its number is not used again, and a repeat is acknowledged.
    let repeat = store.append(sent).await.unwrap();
    assert_eq!(repeat, Appended::Repeat(deleted));
    assert_eq!(append(store, hello(room(1))).await.unwrap().seq, seq(2));
}

async fn an_erasure_leaves_an_empty_shell(store: &impl Store) {
    let sent = with_id(by("42", "Ada", room(1), "hello"), "c0ffee");
    let before = append(store, sent.clone()).await.unwrap();
    append(store, sent_by_deleted(room(1))).await.unwrap();
    make(store, room(1), 1, edit("secret")).await;
    make(store, room(1), 1, react("7", "+", true)).await;
    let erasure = MessageChange {
        room_id: room(1),
        seq: seq(1),
        edit: MessageEdit::Erase,
        by: None,
        rules: RulesNumber::NONE,
    };
    let erased = ChangeRepository::change(store, erasure.clone())
        .await
        .unwrap()
        .message;
    assert_eq!((erased.id, erased.seq), (before.id, before.seq));
    assert_eq!(erased.created_at, before.created_at);
    assert_eq!(erased.content, Content::deleted());
    assert_eq!(erased.author.id, user("deleted"));
    // Whatever a user of this id is called.
    assert_eq!(erased.author.name.as_str(), "deleted");
    assert_eq!(erased.client_message_id, None);
    let changes = erased.changes.clone().unwrap();
    assert!(changes.erased_at.is_some());
    assert!(changes.edited_at.is_none() && changes.deleted_at.is_none());
    assert_eq!((changes.rev, changes.reactions.len()), (rev(3), 0));
    let page = store
        .changed_after(room(1), Rev::START, None, up_to(9))
        .await;
    let changed = page.unwrap().messages.pop().unwrap();
    assert_eq!((changed.kind, changed.by), (ChangeKind::Erased, None));
    let page = store.before(room(1), Some(seq(2)), up_to(9)).await.unwrap();
    assert_eq!(page.messages, std::slice::from_ref(&erased));

    for is_so in [MessageEdit::Erase, MessageEdit::Delete] {
        let again = change(store, room(1), 1, is_so).await.unwrap();
        assert_eq!((again.message, again.is_new), (erased.clone(), false));
    }
    let outcome = change(store, room(1), 1, edit("x")).await;
    assert!(matches!(outcome, Err(MessageChangeError::Deleted)));
    // The id is free: nothing tells who has used it.
    assert_eq!(append(store, sent).await.unwrap().seq, seq(3));
    // A message that was deleted before.
    make(store, room(1), 2, MessageEdit::Delete).await;
    let erased = make(store, room(1), 2, MessageEdit::Erase).await;
    assert_eq!(erased.changes.unwrap().deleted_at, None);
}

fn sent_by_deleted(room_id: RoomId) -> chat_domain::NewMessage {
    by("deleted", "A user of this id", room_id, "x")
}

async fn what_is_already_so_writes_nothing(store: &impl Store) {
    let before = append(store, hello(room(1))).await.unwrap();
    for is_so in [edit("hello"), react("1", "+", false)] {
        let made = change(store, room(1), 1, is_so).await.unwrap();
        assert_eq!((made.message, made.is_new), (before.clone(), false));
    }
    make(store, room(1), 1, edit("new")).await;
    let set = make(store, room(1), 1, react("1", "+", true)).await;
    let cursor = store.changed_since(None).await.unwrap().cursor;
    for is_so in [edit("new"), react("1", "+", true), react("2", "+", false)] {
        let made = change(store, room(1), 1, is_so).await.unwrap();
        assert_eq!((made.message, made.is_new), (set.clone(), false));
    }
    assert_eq!(newest_rev(store, room(1)).await, rev(2));
    let changes = store.changed_since(Some(cursor)).await.unwrap();
    assert_eq!(changes.rooms, Some(vec![]));
}

async fn a_message_that_does_not_exist_is_not_found(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    for (room_number, position) in [(1, 2), (2, 1)] {
        for any in [
            edit("x"),
            MessageEdit::Delete,
            MessageEdit::Erase,
            react("1", "+", true),
        ] {
            let outcome = change(store, room(room_number), position, any).await;
            assert!(
                matches!(outcome, Err(MessageChangeError::NotFound)),
                "{outcome:?}"
            );
        }
        let found = store.message(room(room_number), seq(position)).await;
        assert_eq!(found.unwrap(), None);
    }
    // Nothing was created.
    assert_eq!(store.newest(&[room(2)]).await.unwrap(), []);
    assert_eq!(newest_rev(store, room(1)).await, Rev::START);
}

async fn rules_are_compared_exactly(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    let decided = |number| MessageChange {
        room_id: room(1),
        seq: seq(1),
        edit: edit(&format!("by {number}")),
        by: None,
        rules: RulesNumber::new(number),
    };
    let is_refused = async |number| {
        let outcome = ChangeRepository::change(store, decided(number)).await;
        assert!(
            matches!(outcome, Err(MessageChangeError::RulesChanged)),
            "{outcome:?}"
        );
    };
    is_refused(1).await;
    ChangeRepository::change(store, decided(0)).await.unwrap();
    let frozen = freeze();
    let rules = RoomDirectory::change(store, room(1), RulesNumber::NONE, &frozen, None);
    assert_eq!(rules.await.unwrap().rules.get(), 1);
    is_refused(0).await;
    is_refused(2).await;
    // Not even what is already so, or what does not exist.
    let mut missing = decided(0);
    missing.seq = seq(9);
    let outcome = ChangeRepository::change(store, missing).await;
    assert!(matches!(outcome, Err(MessageChangeError::RulesChanged)));
    let stored = store.message(room(1), seq(1)).await.unwrap().unwrap();
    assert_eq!(stored.content.as_str(), "by 0");
    let made = ChangeRepository::change(store, decided(1)).await.unwrap();
    assert_eq!(made.message.content.as_str(), "by 1");
    append(store, under(1, hello(room(1)))).await.unwrap();
}

async fn changes_of_rooms_are_numbered_apart(store: &impl Store) {
    for number in [1, 2] {
        append(store, hello(room(number))).await.unwrap();
    }
    for n in 1..=3 {
        for number in [1, 2] {
            let text = format!("{n}");
            let message = make(store, room(number), 1, edit(&text)).await;
            assert_eq!(message.changes.unwrap().rev, rev(n));
        }
    }
    let newest = store.newest(&[room(1), room(2)]).await.unwrap();
    assert_eq!(
        newest.iter().map(|p| p.rev).collect::<Vec<_>>(),
        [rev(3); 2]
    );
}

async fn a_change_moves_neither_the_log_nor_its_activity(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    let before = store.read_state(room(1), &user("42")).await.unwrap();
    make(store, room(1), 1, edit("x")).await;
    make(store, room(1), 1, MessageEdit::Delete).await;
    let after = store.read_state(room(1), &user("42")).await.unwrap();
    assert_eq!(after.read, before.read);
    assert_eq!((before.rev, after.rev), (Rev::START, rev(2)));
    let reader = store.read_state(room(1), &user("9")).await.unwrap();
    assert_eq!((reader.read.read, reader.read.newest), (Seq::START, seq(1)));
}
