//! The contract of [`UserErasure`], also through the use case: afterwards, no table holds the id or
//! the name of the user.

pub(crate) mod life;

use std::sync::Arc;

use chat_adapters::{LocalRoomEvents, SystemClock};
use chat_domain::ports::{
    Acquaintances, AuthoredMessages, ChangeRepository, ErasureStage, LastSeen, MessageChange,
    MessageRepository, OutboxKind, RoomDeletion, RoomDirectory, RoomRepository, Sanctions,
    UserErasure, UserRecords,
};
use chat_domain::use_cases::{DisconnectUser, EraseUser, EveryNode, RevokeTokens};
use chat_domain::{
    Message, MessageEdit, MessageExtras, MessageMetadata, Rev, RoomId, RulesNumber, Seq, Timestamp,
    UserId,
};

use self::life::{METADATA, ODD, live, note_seen};
use crate::change_repository::{counts, key, react};
use crate::mentions::are;
use crate::message_extras::mentions;
use crate::outbox;
use crate::room_deletion::{MAKE_DUE, delete_all};
use crate::whole_database::on_each_whole_database;
use crate::{append, by, room, seq, under, up_to, with_id};

pub(crate) trait Store:
    MessageRepository
    + RoomRepository
    + RoomDirectory
    + RoomDeletion
    + ChangeRepository
    + Acquaintances
    + Sanctions
    + UserErasure
    + UserRecords
    + outbox::Store
    + Clone
    + 'static
{
}
impl<S> Store for S where
    S: MessageRepository
        + RoomRepository
        + RoomDirectory
        + RoomDeletion
        + ChangeRepository
        + Acquaintances
        + Sanctions
        + UserErasure
        + UserRecords
        + outbox::Store
        + Clone
        + 'static
{
}

on_each_whole_database!(
    no_table_holds_a_user_whose_messages_are_kept,
    no_table_holds_a_user_whose_messages_are_erased,
    an_erasure_in_small_batches_reaches_every_message_of_a_large_room,
    an_erasure_is_due_two_seconds_after_it_was_requested,
    a_request_that_is_repeated_begins_again,
    a_user_who_writes_again_is_a_new_one,
    a_revocation_after_an_erasure_is_newer_than_the_one_before,
);

/// Makes every erasure due.
const ERASURE_DUE: &str = "UPDATE user_erasures SET requested_at = '2000-01-01T00:00:00.000Z'";

pub(crate) const ID: &str = "secret-id";
pub(crate) const NAME: &str = "Secret Name";

pub(crate) fn ada() -> UserId {
    UserId::new(ID).unwrap()
}

fn eraser(store: &impl Store) -> EraseUser {
    let store = Arc::new(store.clone());
    EraseUser::new(
        store.clone(),
        store.clone(),
        Arc::new(LocalRoomEvents::default()),
        DisconnectUser::new(store.clone(), EveryNode::default()),
        RevokeTokens::new(store, EveryNode::default(), Arc::new(SystemClock)),
    )
}

/// Carries out everything that is due, in batches of this size.
async fn erase(store: &impl Store, size: usize) {
    let eraser = eraser(store);
    let mut is_over = false;
    while let Some(step) = eraser.step(size).await.unwrap() {
        assert!(step.rows <= size as u64, "{step:?}");
        is_over |= step.is_over;
    }
    assert!(is_over);
}

async fn rules(store: &impl Store, room_id: RoomId) -> RulesNumber {
    store.snapshot(room_id, &[]).await.unwrap().rules
}

/// Changes a message on behalf of a user.
async fn change(store: &impl Store, room_id: RoomId, seq: Seq, edit: MessageEdit, by: &str) {
    let change = MessageChange {
        room_id,
        seq,
        edit,
        by: Some(UserId::new(by).unwrap()),
        rules: rules(store, room_id).await,
    };
    ChangeRepository::change(store, change).await.unwrap();
}

async fn impose(store: &impl Store, room_id: RoomId, change: chat_domain::ports::RoomChange) {
    let decided_by = rules(store, room_id).await;
    let changed = RoomDirectory::change(store, room_id, decided_by, &change, Some(ada())).await;
    assert!(changed.unwrap().has_changed);
}

async fn request(store: &impl Store, sql: &impl Fn(&str), messages: AuthoredMessages) {
    eraser(store).request(&ada(), messages).await.unwrap();
    sql(ERASURE_DUE);
}

async fn page(store: &impl Store, room_id: RoomId) -> Vec<Message> {
    let page = store.after(room_id, Seq::START, up_to(100)).await.unwrap();
    page.messages
}

fn authors(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|m| m.author.id.as_str()).collect()
}

/// Checks what is the same whatever became of the messages.
async fn check(store: &impl Store, sql: &impl Fn(&str), dump: &impl Fn() -> String) {
    // A visit that is stored late.
    let seen = LastSeen {
        user_id: ada(),
        name: None,
        at: Some(Timestamp::from_unix_millis(1_769_860_800_000)),
    };
    store.note_seen(&[seen]).await.unwrap();
    // Others are still mentioned, and nothing else is lost.
    are(sql, "room_id = 10 AND seq = 1 AND user_id IN ('7', '8')", 2);
    let [first, only, _] = &page(store, room(10)).await[..] else {
        panic!("three messages");
    };
    let expected = MessageExtras {
        metadata: MessageMetadata::new(METADATA).ok(),
        ..mentions(["7", "8"].map(|id| UserId::new(id).unwrap()))
    };
    assert_eq!(first.extras, expected.boxed());
    assert_eq!((&only.extras, &only.changes), (&None, &None));
    // The deletion of a room goes on beside it.
    sql(MAKE_DUE);
    delete_all(store, 100).await;
    for needle in [ID, NAME] {
        let dump = dump();
        let found: Vec<_> = dump.lines().filter(|line| line.contains(needle)).collect();
        assert!(found.is_empty(), "{found:?}");
        assert!(dump.contains("Grace"), "the dump shows nothing");
    }
    let users = [ada()];
    let snapshot = store.snapshot(room(3), &users).await.unwrap();
    assert_eq!(snapshot.settings.unwrap().member_count, 2);
    assert_eq!((snapshot.owners, snapshot.users[0].role), (0, None));
    for number in [4, 5, 9] {
        let snapshot = store.snapshot(room(number), &users).await.unwrap();
        assert_eq!(snapshot.users[0], Default::default());
        assert_eq!(snapshot.settings.unwrap().member_count, 0);
    }
    let first = &page(store, room(1)).await[0];
    assert_eq!(counts(first), [("+".to_owned(), 1)]);
    let state = store.read_state(room(7), &ada()).await.unwrap();
    assert_eq!(state.read.read, Seq::START);
}

async fn no_table_holds_a_user_whose_messages_are_kept(
    store: &impl Store,
    sql: impl Fn(&str),
    dump: impl Fn() -> String,
) {
    live(store).await;
    assert!(dump().contains(ID) && dump().contains(NAME));
    let before = store.newest(&[room(1)]).await.unwrap()[0].rev;
    request(store, &sql, AuthoredMessages::Keep).await;
    erase(store, 100).await;
    check(store, &sql, &dump).await;
    let messages = page(store, room(1)).await;
    let deleted = "deleted";
    assert_eq!(
        authors(&messages),
        [
            "7", deleted, deleted, "7", deleted, deleted, "7", deleted, deleted
        ]
    );
    assert_eq!(messages[1].content.as_str(), "edited");
    assert_eq!(messages[1].author.name.as_str(), deleted);
    assert!(messages.iter().all(|m| m.client_message_id.is_none()));
    let own = &page(store, room(10)).await[2];
    let expected = MessageExtras {
        reply_to: Some(seq(2)),
        metadata: MessageMetadata::new(METADATA).ok(),
        ..mentions([UserId::new(ODD).unwrap()])
    };
    assert_eq!(own.extras, expected.boxed());
    are(&sql, "room_id = 10", 3);
    // Two reactions were cleared, and no message was changed besides.
    let after = store.newest(&[room(1)]).await.unwrap()[0].rev;
    assert_eq!(after.get(), before.get() + 2);
    // Each change is reported once, and nothing besides.
    outbox::lease(store, outbox::request(outbox::TWO)).await;
    let reported = outbox::found(store, room(1)).await.into_iter();
    let changes = reported.filter(|(kind, ..)| *kind == OutboxKind::MessageChanged);
    let reported: u64 = changes.map(|(_, first, last, _)| last - first + 1).sum();
    assert_eq!(reported, after.get());
    let changes = store
        .changed_after(room(1), Rev::START, None, up_to(100))
        .await;
    let by: Vec<_> = changes
        .unwrap()
        .messages
        .into_iter()
        .map(|changed| (changed.message.seq.get(), changed.by))
        .collect();
    let deleted = Some(UserId::deleted());
    let seven = UserId::new("7").ok();
    assert_eq!(
        by,
        [(2, seven), (4, deleted.clone()), (5, deleted), (1, None)]
    );
}

async fn no_table_holds_a_user_whose_messages_are_erased(
    store: &impl Store,
    sql: impl Fn(&str),
    dump: impl Fn() -> String,
) {
    live(store).await;
    request(store, &sql, AuthoredMessages::Erase).await;
    erase(store, 2).await;
    check(store, &sql, &dump).await;
    let messages = page(store, room(1)).await;
    for message in &messages {
        let is_erased = message.author.id == UserId::deleted();
        assert_eq!(is_erased, ![1, 4, 7].contains(&message.seq.get()));
        let erased_at = message.changes.as_ref().and_then(|c| c.erased_at);
        assert_eq!(erased_at.is_some(), is_erased, "{message:?}");
        assert!(!is_erased || message.content.as_str().is_empty());
    }
    // With them go their mentions.
    are(&sql, "room_id = 10", 2);
    // The last changes of the room are the erasures.
    let rev = store.newest(&[room(1)]).await.unwrap()[0].rev;
    let last = messages[8].changes.as_ref().unwrap().rev;
    assert_eq!(last, rev);
}

async fn an_erasure_in_small_batches_reaches_every_message_of_a_large_room(
    store: &impl Store,
    sql: impl Fn(&str),
    dump: impl Fn() -> String,
) {
    for n in 0..40 {
        let author = if n % 8 < 3 { ID } else { "7" };
        append(store, by(author, "Grace", room(1), "x"))
            .await
            .unwrap();
        append(store, by(author, "Grace", room(2), "x"))
            .await
            .unwrap();
    }
    for n in 0..7 {
        change(store, room(2), seq(40), react(ID, &n.to_string(), true), ID).await;
    }
    request(store, &sql, AuthoredMessages::Keep).await;
    erase(store, 2).await;
    assert!(!dump().contains(ID));
    let messages = page(store, room(2)).await;
    let kept = messages.iter().filter(|m| m.author.id == UserId::deleted());
    assert_eq!(kept.count(), 15);
    assert_eq!(counts(&messages[39]), []);
}

async fn an_erasure_is_due_two_seconds_after_it_was_requested(
    store: &impl Store,
    sql: impl Fn(&str),
    _: impl Fn() -> String,
) {
    append(store, by(ID, NAME, room(1), "x")).await.unwrap();
    store.request(&ada(), AuthoredMessages::Keep).await.unwrap();
    assert_eq!(store.erase_batch(10).await.unwrap(), None);
    assert!(!store.finish(&ada()).await.unwrap(), "it has not begun");
    sql(ERASURE_DUE);
    let batch = store.erase_batch(10).await.unwrap().unwrap();
    assert_eq!(batch.user_id, ada());
    while store.erase_batch(10).await.unwrap().unwrap().stage != ErasureStage::Over {}
    assert!(store.finish(&ada()).await.unwrap());
    assert_eq!(store.erase_batch(10).await.unwrap(), None);
}

async fn a_request_that_is_repeated_begins_again(
    store: &impl Store,
    sql: impl Fn(&str),
    dump: impl Fn() -> String,
) {
    append(store, by(ID, NAME, room(1), "x")).await.unwrap();
    request(store, &sql, AuthoredMessages::Erase).await;
    while store.erase_batch(10).await.unwrap().unwrap().stage != ErasureStage::Over {}
    append(store, by(ID, NAME, room(1), "y")).await.unwrap();
    // It cannot keep what was to be erased.
    request(store, &sql, AuthoredMessages::Keep).await;
    erase(store, 10).await;
    let messages = page(store, room(1)).await;
    assert!(messages.iter().all(|m| m.content.as_str().is_empty()));
    assert!(!dump().contains(ID));
}

async fn a_user_who_writes_again_is_a_new_one(
    store: &impl Store,
    sql: impl Fn(&str),
    dump: impl Fn() -> String,
) {
    let sent = with_id(by(ID, NAME, room(1), "x"), "c0ffee");
    append(store, sent.clone()).await.unwrap();
    note_seen(store, Timestamp::from_unix_millis(1_700_000_000_000)).await;
    assert!(dump().contains("2023-11-14T22:13:20"));
    request(store, &sql, AuthoredMessages::Keep).await;
    while store.erase_batch(10).await.unwrap().unwrap().stage != ErasureStage::Over {}
    // Before the end: the name is that of the new user.
    let other = by(ID, "Other", room(1), "y");
    append(store, other).await.unwrap();
    erase(store, 10).await;
    assert!(!dump().contains(NAME) && !dump().contains("2023-11-14T22:13:20"));
    // The id of an erased user's message is free.
    let again = append(store, under(0, sent)).await.unwrap();
    let messages = page(store, room(1)).await;
    assert_eq!(authors(&messages), ["deleted", ID, ID]);
    assert_eq!(again.seq, seq(3));
    let reaction = react(ID, "+", true);
    change(store, room(1), seq(1), reaction, ID).await;
    let own = store.own_reactions(room(1), &ada(), &[seq(1)]).await;
    assert_eq!(own.unwrap(), [(seq(1), key("+"))]);
}

/// Otherwise nodes that remember the earlier one would ignore it.
async fn a_revocation_after_an_erasure_is_newer_than_the_one_before(
    store: &impl Store,
    sql: impl Fn(&str),
    _: impl Fn() -> String,
) {
    let time = Timestamp::from_unix_millis(1_769_860_800_000);
    let mut before = store.revoke(&ada(), time).await.unwrap().number;
    for _ in 0..3 {
        before = store.revoke(&ada(), time).await.unwrap().number;
    }
    request(store, &sql, AuthoredMessages::Keep).await;
    erase(store, 10).await;
    assert_eq!(store.revocations(None, 9).await.unwrap(), []);
    assert!(store.revoke(&ada(), time).await.unwrap().number > before + 1);
}
