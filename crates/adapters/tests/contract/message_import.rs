//! The contract of [`MessageImport`].

use chat_domain::ports::{AppendError, ImportFailure, Imported, MessageImport, RoomDirectory};
use chat_domain::{
    Content, MessageExtras, MessageMetadata, NewMessage, Seq, StorageError, Timestamp,
};

use crate::changed_rows::on_each_database_with_sql;
use crate::mentions::are;
use crate::message_extras::{mentions, with};
use crate::outbox;
use crate::room_directory::{freeze, user};
use crate::{append, by, hello, room, seq, under, up_to, with_id};

trait Store: outbox::Store + MessageImport + Clone + 'static {}
impl<S: outbox::Store + MessageImport + Clone + 'static> Store for S {}

on_each_database_with_sql!(
    messages_are_stored_in_their_order_and_numbered_among_others,
    repeats_are_recognized_in_a_batch_and_across_batches,
    nothing_after_a_conflict_is_stored,
    nothing_after_a_row_that_cannot_be_stored_is_stored,
    nothing_is_stored_under_other_rules,
    imports_and_appends_to_one_room_share_its_numbers,
    messages_are_stored_with_what_they_carry,
    no_webhook_reports_them,
    a_reply_is_stored_only_if_what_it_replies_to_is_certain_to_be_earlier,
);

fn line(n: usize) -> NewMessage {
    let author = if n.is_multiple_of(3) { "42" } else { "43" };
    NewMessage {
        created_at: Timestamp::from_unix_millis(1_000_000_000_000 + n as i64),
        ..with_id(
            by(author, "Ada", room(1), &format!("line {n}")),
            &format!("id-{n}"),
        )
    }
}

fn lines(range: std::ops::Range<usize>) -> Vec<NewMessage> {
    range.map(line).collect()
}

fn seqs(imported: &Imported) -> Vec<u64> {
    imported.stored.iter().map(|m| m.seq.get()).collect()
}

async fn contents(store: &impl Store) -> Vec<String> {
    let page = store.after(room(1), Seq::START, up_to(2000)).await.unwrap();
    let messages = page.messages.into_iter();
    messages.map(|m| m.content.as_str().to_owned()).collect()
}

async fn messages_are_stored_in_their_order_and_numbered_among_others(
    store: &impl Store,
    _: impl Fn(&str),
) {
    append(store, hello(room(1))).await.unwrap();
    let imported = store.import(lines(0..600), Seq::START).await;
    assert!(imported.failed.is_none(), "{imported:?}");
    assert_eq!(seqs(&imported), (2..602).collect::<Vec<_>>());
    assert_eq!(append(store, hello(room(1))).await.unwrap().seq, seq(602));
    let page = store.after(room(1), seq(1), up_to(600)).await.unwrap();
    assert_eq!(page.messages, imported.stored);
    assert_eq!(page.messages[7].created_at.unix_millis(), 1_000_000_000_007);
    let state = store.import(Vec::new(), Seq::START).await;
    assert!(state.failed.is_none() && state.stored.is_empty());
}

async fn repeats_are_recognized_in_a_batch_and_across_batches(
    store: &impl Store,
    _: impl Fn(&str),
) {
    let first = store.import(lines(0..5), Seq::START).await;
    assert_eq!((first.stored.len(), first.repeated), (5, 0));
    // As after a connection that broke: a part is stored already, and a line is there twice.
    let mut again = lines(3..8);
    again.push(line(6));
    let second = store.import(again, Seq::START).await;
    assert!(second.failed.is_none(), "{second:?}");
    assert_eq!((seqs(&second), second.repeated), (vec![6, 7, 8], 3));
    let third = store.import(lines(0..8), Seq::START).await;
    assert_eq!((third.stored.len(), third.repeated), (0, 8));
    // Over another transport it is the same message.
    let repeat = store.append(line(2)).await.unwrap();
    assert!(matches!(repeat, chat_domain::ports::Appended::Repeat(_)));
    assert_eq!(contents(store).await.len(), 8);
}

async fn nothing_after_a_conflict_is_stored(store: &impl Store, _: impl Fn(&str)) {
    let other = |n| NewMessage {
        content: Content::new("other").unwrap(),
        ..line(n)
    };
    store.import(lines(0..2), Seq::START).await;
    // With a stored message.
    let imported = store
        .import(vec![line(2), line(1), other(0), line(3)], Seq::START)
        .await;
    assert!(matches!(
        imported.failed,
        Some(ImportFailure::Append(AppendError::Conflict))
    ));
    assert_eq!((seqs(&imported), imported.repeated), (vec![3], 1));
    // With an earlier one of the batch.
    let imported = store
        .import(vec![line(4), other(4), line(5)], Seq::START)
        .await;
    assert!(matches!(
        imported.failed,
        Some(ImportFailure::Append(AppendError::Conflict))
    ));
    assert_eq!(seqs(&imported), [4]);
    let stored = ["line 0", "line 1", "line 2", "line 4"];
    assert_eq!(contents(store).await, stored);
}

async fn nothing_after_a_row_that_cannot_be_stored_is_stored(
    store: &impl Store,
    sql: impl Fn(&str),
) {
    append(store, hello(room(1))).await.unwrap();
    // The third message would be beyond the largest number.
    let largest = chat_domain::MAX_NUMBER;
    sql(&format!("UPDATE rooms SET last_seq = {}", largest - 2));
    let imported = store.import(lines(0..4), Seq::START).await;
    let failed = &imported.failed;
    assert!(
        matches!(
            failed,
            Some(ImportFailure::Append(AppendError::Storage(
                StorageError::Unavailable(_)
            )))
        ),
        "{failed:?}"
    );
    assert_eq!(seqs(&imported), [largest - 1, largest]);
}

async fn nothing_is_stored_under_other_rules(store: &impl Store, _: impl Fn(&str)) {
    let number = chat_domain::RulesNumber::NONE;
    RoomDirectory::change(store, room(1), number, &freeze(), None)
        .await
        .unwrap();
    let imported = store.import(lines(0..3), Seq::START).await;
    assert!(matches!(
        imported.failed,
        Some(ImportFailure::Append(AppendError::RulesChanged))
    ));
    assert!(imported.stored.is_empty());
    let lines = lines(0..3).into_iter().map(|line| under(1, line)).collect();
    assert_eq!(seqs(&store.import(lines, Seq::START).await), [1, 2, 3]);
}

async fn imports_and_appends_to_one_room_share_its_numbers(store: &impl Store, _: impl Fn(&str)) {
    let importing = |from: usize| {
        let store = store.clone();
        async move {
            for batch in 0..5 {
                let start = from + batch * 50;
                let imported = store.import(lines(start..start + 50), Seq::START).await;
                assert!(imported.failed.is_none(), "{imported:?}");
            }
        }
    };
    let sending = async {
        for _ in 0..30 {
            append(store, hello(room(1))).await.unwrap();
            append(store, hello(room(2))).await.unwrap();
        }
    };
    tokio::join!(
        async { tokio::spawn(importing(0)).await.unwrap() },
        async { tokio::spawn(importing(1000)).await.unwrap() },
        sending
    );
    let page = store.after(room(1), Seq::START, up_to(2000)).await.unwrap();
    let numbers: Vec<_> = page.messages.iter().map(|m| m.seq.get()).collect();
    assert_eq!(numbers, (1..=530).collect::<Vec<_>>());
    for from in [0, 1000] {
        let expected: Vec<_> = (from..from + 250).map(|n| format!("line {n}")).collect();
        let of_import = page.messages.iter().map(|m| m.content.as_str().to_owned());
        let of_import: Vec<_> = of_import.filter(|text| expected.contains(text)).collect();
        assert_eq!(of_import, expected, "in their order");
    }
}

fn reply(n: usize, reply_to: u64) -> NewMessage {
    let extras = MessageExtras {
        reply_to: Seq::new(reply_to).ok(),
        ..MessageExtras::default()
    };
    with(line(n), extras)
}

async fn messages_are_stored_with_what_they_carry(store: &impl Store, sql: impl Fn(&str)) {
    let mentioning = |n, users: &[&str]| with(line(n), mentions(users.iter().map(|id| user(id))));
    let full = MessageExtras {
        reply_to: Some(seq(1)),
        metadata: MessageMetadata::new(r#"{"a":"\u0000'\""}"#).ok(),
        ..mentions(["7", "it's \"1\" \\ {é}"].map(user))
    };
    let batch = vec![line(0), mentioning(1, &["7", "8"]), with(line(2), full)];
    let imported = store.import(batch.clone(), Seq::START).await;
    assert_eq!(seqs(&imported), [1, 2, 3], "{imported:?}");
    let page = store.after(room(1), Seq::START, up_to(9)).await.unwrap();
    assert_eq!(page.messages, imported.stored);
    let extras = |messages: &[NewMessage]| -> Vec<_> {
        let extras = messages.iter().map(|m| m.extras.clone());
        extras.collect()
    };
    let stored: Vec<_> = page.messages.into_iter().map(|m| m.extras).collect();
    assert_eq!(stored, extras(&batch));
    are(&sql, "room_id = 1", 4);
    are(&sql, "user_id = '7' AND seq IN (2, 3)", 2);
    // They count as content.
    let imported = store.import(batch, Seq::START).await;
    assert_eq!((imported.stored.len(), imported.repeated), (0, 3));
    let imported = store.import(vec![mentioning(1, &["7"])], Seq::START).await;
    assert!(matches!(
        imported.failed,
        Some(ImportFailure::Append(AppendError::Conflict))
    ));
}

async fn a_reply_is_stored_only_if_what_it_replies_to_is_certain_to_be_earlier(
    store: &impl Store,
    _: impl Fn(&str),
) {
    let is_unknown = |imported: &Imported| {
        matches!(imported.failed, Some(ImportFailure::UnknownReplyTo)) && imported.repeated == 0
    };
    // To one before it, to itself, and to one after it.
    let batch = vec![line(0), reply(1, 1), reply(2, 3), line(3)];
    let imported = store.import(batch, Seq::START).await;
    assert!(is_unknown(&imported), "{imported:?}");
    assert_eq!(seqs(&imported), [1, 2]);
    let imported = store.import(vec![reply(2, 4), line(3)], seq(2)).await;
    assert!(is_unknown(&imported) && imported.stored.is_empty());
    let imported = store.import(vec![reply(2, 2), line(3)], seq(2)).await;
    assert_eq!(seqs(&imported), [3, 4]);
    // A repeat takes no number: what follows is not as far as it seems.
    let imported = store
        .import(vec![line(3), reply(4, 5), line(5)], seq(4))
        .await;
    let failed = matches!(imported.failed, Some(ImportFailure::UnknownReplyTo));
    assert!(failed && imported.stored.is_empty(), "{imported:?}");
    assert_eq!(imported.repeated, 1);
    let imported = store.import(vec![reply(2, 2), line(6)], seq(2)).await;
    assert!(imported.failed.is_none(), "{imported:?}");
    assert_eq!((seqs(&imported), imported.repeated), (vec![5], 1));
}

async fn no_webhook_reports_them(store: &impl Store, _: impl Fn(&str)) {
    outbox::record_all(store);
    let imported = store.import(lines(0..600), Seq::START).await;
    assert_eq!(imported.stored.len(), 600);
    let request = outbox::request(outbox::ONE);
    assert_eq!(outbox::lease(store, request).await, outbox::NO_ROOMS);
    append(store, hello(room(1))).await.unwrap();
    let request = outbox::request(outbox::ONE);
    assert_eq!(outbox::lease(store, request).await, [1]);
}
