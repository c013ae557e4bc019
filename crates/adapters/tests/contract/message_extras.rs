//! What messages carry besides their text: `replyTo`, `mentions` and `metadata`.

use chat_domain::ports::{AppendError, Appended, MessageRepository, ReadLimit, RoomDirectory};
use chat_domain::{
    MessageEdit, MessageExtras, MessageMetadata, NewMessage, Rev, Seq, StorageError, UserId,
};

use crate::change_repository::{Store, edit, make, user};
use crate::room_directory::{number, set};
use crate::{append, append_at_once, by, hello, room, seq, under, up_to, with_id};

crate::on_each_database!(
    a_message_is_read_with_what_it_carries,
    messages_with_and_without_extras_are_stored_together,
    other_extras_under_the_same_id_are_a_conflict,
    a_repeat_of_a_changed_message_is_a_repeat,
    pages_count_extras,
    a_deleted_message_keeps_only_to_which_it_replies,
);

pub(crate) fn mentions(users: impl IntoIterator<Item = UserId>) -> MessageExtras {
    MessageExtras {
        mentions: users.into_iter().collect(),
        ..MessageExtras::default()
    }
}

pub(crate) fn with(message: NewMessage, extras: MessageExtras) -> NewMessage {
    NewMessage {
        extras: extras.boxed(),
        ..message
    }
}

fn all() -> MessageExtras {
    MessageExtras {
        reply_to: Some(seq(1)),
        mentions: ["7", "it's \"1\" \\ {é}", "NULL", "A"].map(user).into(),
        metadata: MessageMetadata::new(r#"{"a":"\u0000'\"","b":[1.0,null,{}],"é":"🦀"}"#).ok(),
    }
}

fn metadata(json: &str) -> MessageExtras {
    MessageExtras {
        metadata: MessageMetadata::new(json).ok(),
        ..MessageExtras::default()
    }
}

async fn a_message_is_read_with_what_it_carries(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    for extras in [
        MessageExtras {
            reply_to: Some(seq(1)),
            ..MessageExtras::default()
        },
        mentions([user("7")]),
        metadata("{}"),
        all(),
        mentions((0..50).map(|n| user(&format!("{n}{}", "x".repeat(200))))),
        metadata(&format!(r#"{{"a":"{}"}}"#, "x".repeat(2048 - 8))),
    ] {
        let sent = with(hello(room(1)), extras.clone());
        let stored = append(store, sent).await.unwrap();
        assert_eq!(stored.extras, extras.boxed());
        let newest = store.before(room(1), None, up_to(1)).await.unwrap();
        assert_eq!(newest.messages, std::slice::from_ref(&stored));
        let found = store.message(room(1), stored.seq).await.unwrap();
        assert_eq!(found, Some(stored.clone()));
        let changed = make(store, room(1), stored.seq.get(), edit("new")).await;
        assert_eq!(changed.extras, stored.extras);
        let after = changed.changes.as_ref().unwrap().rev.get() - 1;
        let page = store.changed_after(room(1), Rev::new(after).unwrap(), None, up_to(9));
        assert_eq!(page.await.unwrap().messages[0].message, changed);
    }
    let log = store.after(room(1), Seq::START, up_to(99)).await.unwrap();
    assert_eq!(log.messages.len(), 7);
    assert_eq!(log.messages[0].extras, None);
}

async fn messages_with_and_without_extras_are_stored_together(store: &impl Store) {
    let sent: Vec<_> = (0..60)
        .map(|n| {
            let message = by(&n.to_string(), "x", room(1 + n % 4), "hello");
            match n % 3 {
                0 => message,
                1 => with(message, mentions([user("7"), user(&n.to_string())])),
                _ => with(message, metadata(&format!(r#"{{"n":{n}}}"#))),
            }
        })
        .collect();
    let mut stored = Vec::new();
    for outcome in append_at_once(store, sent.clone()).await {
        let Appended::Stored(message) = outcome.unwrap() else {
            panic!("a repeat");
        };
        stored.push(message);
    }
    for (sent, stored) in sent.iter().zip(&stored) {
        assert_eq!(sent.extras, stored.extras);
    }
    for number in 1..=4 {
        let log = store.after(room(number), Seq::START, up_to(99));
        let expected = stored.iter().filter(|m| m.room_id == room(number));
        assert_eq!(
            log.await.unwrap().messages.iter().collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
    }
}

async fn other_extras_under_the_same_id_are_a_conflict(log: &impl MessageRepository) {
    append(log, hello(room(1))).await.unwrap();
    append(log, hello(room(1))).await.unwrap();
    let changes: [fn(&mut MessageExtras); 8] = [
        |extras| extras.reply_to = None,
        |extras| extras.reply_to = Some(seq(2)),
        |extras| extras.mentions.clear(),
        |extras| drop(extras.mentions.pop()),
        |extras| extras.mentions.push(user("8")),
        |extras| extras.metadata = None,
        |extras| extras.metadata = metadata("{}").metadata,
        |extras| *extras = MessageExtras::default(),
    ];
    let sent = |id: &str| with_id(hello(room(1)), id);
    let original = with(sent("a"), all());
    let stored = append(log, original.clone()).await.unwrap();
    for change in changes {
        let mut extras = all();
        change(&mut extras);
        let other = log.append(with(sent("a"), extras.clone())).await;
        assert!(
            matches!(other, Err(AppendError::Conflict)),
            "{extras:?} {other:?}"
        );
    }
    let repeat = log.append(original).await.unwrap();
    assert_eq!(repeat, Appended::Repeat(stored));
    // Without any.
    append(log, sent("b")).await.unwrap();
    let other = log.append(with(sent("b"), all())).await;
    assert!(matches!(other, Err(AppendError::Conflict)), "{other:?}");
    // In one batch.
    let batch = [
        with(sent("c"), all()),
        with(sent("c"), all()),
        with(sent("c"), mentions([user("7")])),
        sent("c"),
    ];
    let outcomes = append_at_once(log, batch).await;
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(Appended::Stored(_)) => "stored",
            Ok(Appended::Repeat(_)) => "repeat",
            Err(AppendError::Conflict) => "conflict",
            Err(_) => "error",
        })
        .collect();
    assert_eq!(kinds, ["stored", "repeat", "conflict", "conflict"]);
}

async fn a_repeat_of_a_changed_message_is_a_repeat(store: &impl Store) {
    let sent = with(with_id(hello(room(1)), "c0ffee"), mentions([user("7")]));
    append(store, sent.clone()).await.unwrap();
    for change in [edit("new"), MessageEdit::Delete] {
        let changed = make(store, room(1), 1, change).await;
        let repeat = store.append(sent.clone()).await.unwrap();
        assert_eq!(repeat, Appended::Repeat(changed));
    }
}

async fn pages_count_extras(store: &impl Store) {
    // 100 bytes each: the text, and the rest in the form in which it is stored.
    let big = || metadata(&format!(r#"{{"é":"{}"}}"#, "x".repeat(70)));
    for n in 1..=5 {
        let text = "x".repeat(100 - 92);
        append(store, with(by("42", "Ada", room(1), &text), big()))
            .await
            .unwrap();
        make(
            store,
            room(1),
            n,
            MessageEdit::React {
                user_id: user("7"),
                key: crate::change_repository::key("+"),
                on: true,
            },
        )
        .await;
    }
    for (bytes, count, has_more) in [
        (1, 1, true),
        (199, 1, true),
        (200, 2, true),
        (250, 2, true),
        (300, 3, true),
        (499, 4, true),
        (500, 5, false),
    ] {
        let limit = ReadLimit { messages: 9, bytes };
        let after = store.after(room(1), Seq::START, limit).await.unwrap();
        let before = store.before(room(1), None, limit).await.unwrap();
        let changed = store.changed_after(room(1), Rev::START, None, limit).await;
        let changed = changed.unwrap();
        for found in [
            (after.messages.len(), after.has_more),
            (before.messages.len(), before.has_more),
            (changed.messages.len(), changed.has_more),
        ] {
            assert_eq!(found, (count, has_more), "{bytes}");
        }
    }
}

async fn a_deleted_message_keeps_only_to_which_it_replies(store: &impl Store) {
    append(store, hello(room(1))).await.unwrap();
    let reply = MessageExtras {
        reply_to: Some(seq(1)),
        ..MessageExtras::default()
    };
    for (extras, left) in [
        (all(), reply.clone().boxed()),
        (reply.clone(), reply.boxed()),
        (mentions([user("7")]), None),
        (metadata(r#"{"replyTo":1}"#), None),
    ] {
        let stored = append(store, with(hello(room(1)), extras)).await.unwrap();
        let deleted = make(store, room(1), stored.seq.get(), MessageEdit::Delete).await;
        assert_eq!(deleted.extras, left);
        let found = store.message(room(1), stored.seq).await.unwrap();
        assert_eq!(found, Some(deleted));
        let erased = make(store, room(1), stored.seq.get(), MessageEdit::Erase).await;
        assert_eq!(erased.extras, None);
    }
}

mod with_sql {
    use super::*;
    use crate::changed_rows::on_each_database_with_sql;

    on_each_database_with_sql!(
        extras_that_are_not_valid_are_corrupt,
        what_other_rules_decided_stores_no_mention,
    );

    async fn extras_that_are_not_valid_are_corrupt(store: &impl Store, sql: impl Fn(&str)) {
        append(store, hello(room(1))).await.unwrap();
        for wrong in ["", "{}", "x", r#"{"mentions":[]}"#, r#"{"metadata":1}"#] {
            sql(&format!("UPDATE messages SET extras = '{wrong}'"));
            let page = store.after(room(1), Seq::START, up_to(9)).await;
            assert!(matches!(page, Err(StorageError::Corrupt(_))), "{page:?}");
            let found = store.message(room(1), seq(1)).await;
            assert!(matches!(found, Err(StorageError::Corrupt(_))), "{found:?}");
        }
        // It can be deleted nonetheless.
        make(store, room(1), 1, MessageEdit::Delete).await;
        sql("UPDATE messages SET extras = 'x'; DELETE FROM messages");
    }

    async fn what_other_rules_decided_stores_no_mention(store: &impl Store, sql: impl Fn(&str)) {
        let change = set("42", chat_domain::Role::Owner);
        let rules = number(store, room(1)).await;
        RoomDirectory::change(store, room(1), rules, &change, None)
            .await
            .unwrap();
        let mention = |message| with(message, mentions([user("7")]));
        let batch = [
            mention(hello(room(1))),
            mention(hello(room(2))),
            mention(under(1, hello(room(3)))),
        ];
        let outcomes = append_at_once(store, batch).await;
        let is_stored: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(is_stored, [false, true, false]);
        crate::mentions::are(&sql, "room_id = 2 AND user_id = '7' AND seq = 1", 1);
        crate::mentions::are(&sql, "true", 1);
    }
}
