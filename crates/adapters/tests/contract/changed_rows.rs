//! The contract of [`MessageRepository`] when an operator has deleted or changed rows.

use chat_domain::ports::{AppendError, Appended, MessageRepository};
use chat_domain::{Message, Seq, StorageError};

use crate::{append, append_at_once, by, hello, room, seq, up_to, with_id};

/// Turns each story, an `async fn(&impl Port, impl Fn(&str))` that also runs SQL as an
/// operator, into one test on SQLite and one on PostgreSQL.
macro_rules! on_each_database_with_sql {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                use diesel::connection::SimpleConnection as _;

                let sqlite = $crate::databases::Sqlite::fresh().await;
                let sql = |sql: &str| {
                    let off = format!("PRAGMA foreign_keys = OFF; {sql}");
                    sqlite.other().batch_execute(&off).unwrap();
                };
                super::$story(&sqlite.database, sql).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                let postgres = $crate::databases::Postgres::fresh().await;
                let sql = |sql: &str| drop(postgres.server.psql(sql).unwrap());
                super::$story(&postgres.database, sql).await;
            })*
        }
    };
}
pub(crate) use on_each_database_with_sql;

on_each_database_with_sql!(
    a_missing_author_hides_no_message,
    the_id_of_a_deleted_message_is_free_again,
    a_row_that_is_not_valid_is_corrupt_and_harms_no_other,
    a_counter_at_its_end_stores_nothing,
);

/// The id stands in for the name, as it does for a token without a name.
async fn a_missing_author_hides_no_message(log: &impl MessageRepository, sql: impl Fn(&str)) {
    let sent = with_id(by("42", "Ada", room(1), "x"), "c0ffee");
    append(log, sent.clone()).await.unwrap();
    append(log, by("43", "Grace", room(1), "y")).await.unwrap();
    sql("DELETE FROM users WHERE id = '42'");
    let names = |read: Vec<Message>| {
        let names = read.iter().map(|m| m.author.name.as_str().to_owned());
        names.collect::<Vec<_>>()
    };
    let read = log
        .after(room(1), Seq::START, up_to(10))
        .await
        .unwrap()
        .messages;
    assert_eq!(names(read), ["42", "Grace"]);
    let read = log.before(room(1), None, up_to(10)).await.unwrap().messages;
    assert_eq!(names(read), ["42", "Grace"]);
    let repeat = log.append(sent).await.unwrap();
    assert!(matches!(repeat, Appended::Repeat(m) if m.author.name.as_str() == "42"));
    // A message under another name stores the author again.
    append(log, by("42", "Ada L.", room(1), "z")).await.unwrap();
    let read = log
        .after(room(1), Seq::START, up_to(10))
        .await
        .unwrap()
        .messages;
    assert_eq!(names(read), ["Ada L.", "Grace", "Ada L."]);
}

async fn the_id_of_a_deleted_message_is_free_again(
    log: &impl MessageRepository,
    sql: impl Fn(&str),
) {
    let sent = with_id(hello(room(1)), "c0ffee");
    let first = append(log, sent.clone()).await.unwrap();
    let repeat = log.append(sent.clone()).await.unwrap();
    assert_eq!(repeat, Appended::Repeat(first.clone()));
    sql("DELETE FROM messages WHERE seq = 1");
    let again = append(log, sent.clone()).await.unwrap();
    assert_eq!(
        again.seq,
        seq(2),
        "the deleted message's number is not assigned again"
    );
    assert_ne!(again.id, first.id);
    let repeat = log.append(sent.clone()).await.unwrap();
    assert_eq!(repeat, Appended::Repeat(again.clone()));
    sql("DELETE FROM messages WHERE seq = 2");
    let other = with_id(by("42", "Ada", room(1), "other"), "c0ffee");
    assert_eq!(append(log, other.clone()).await.unwrap().seq, seq(3));
    let refused = log.append(sent).await;
    assert!(matches!(refused, Err(AppendError::Conflict)), "{refused:?}");
    let read = log.after(room(1), Seq::START, up_to(10)).await.unwrap();
    assert_eq!(read.complete_to(), seq(3));
    assert_eq!(read.messages.len(), 1);
}

/// Data that is not valid is not an outage: a retry would fail the same way.
async fn a_row_that_is_not_valid_is_corrupt_and_harms_no_other(
    log: &impl MessageRepository,
    sql: impl Fn(&str),
) {
    let sent = with_id(hello(room(1)), "c0ffee");
    append(log, sent.clone()).await.unwrap();
    append(log, hello(room(1))).await.unwrap();
    append(log, hello(room(2))).await.unwrap();
    sql("UPDATE messages SET content = ' ' WHERE room_id = 1 AND seq = 1");
    let is_corrupt = |read: Result<_, StorageError>| matches!(read, Err(StorageError::Corrupt(_)));
    assert!(is_corrupt(log.after(room(1), Seq::START, up_to(10)).await));
    assert!(is_corrupt(log.before(room(1), None, up_to(10)).await));
    for (number, position) in [(1, 1), (2, 0)] {
        let read = log.after(room(number), seq(position), up_to(10)).await;
        assert_eq!(read.unwrap().messages.len(), 1);
    }
    // In one batch with other messages and their repeats.
    for round in 1..=3 {
        let other = |n: u64| with_id(hello(room(2)), &format!("{round}-{n}"));
        let batch = [other(1), sent.clone(), other(2), other(1), hello(room(1))];
        let outcomes = append_at_once(log, batch).await;
        let is_stored = |n: usize| matches!(outcomes[n], Ok(Appended::Stored(_)));
        assert!(is_stored(0) && is_stored(2) && is_stored(4), "{outcomes:?}");
        let corrupt = &outcomes[1];
        assert!(
            matches!(corrupt, Err(AppendError::Storage(StorageError::Corrupt(_)))),
            "{corrupt:?}"
        );
        assert!(
            matches!(outcomes[3], Ok(Appended::Repeat(_))),
            "{outcomes:?}"
        );
    }
}

/// A number beyond the largest one must be noticed before the commit, not after it.
async fn a_counter_at_its_end_stores_nothing(log: &impl MessageRepository, sql: impl Fn(&str)) {
    append(log, hello(room(1))).await.unwrap();
    sql(&format!(
        "UPDATE rooms SET last_seq = {}",
        chat_domain::MAX_NUMBER
    ));
    for _ in 0..2 {
        let outcomes = append_at_once(log, [hello(room(1)), hello(room(2))]).await;
        assert!(
            matches!(
                outcomes[0],
                Err(AppendError::Storage(StorageError::Unavailable(_)))
            ),
            "{outcomes:?}"
        );
        assert!(outcomes[1].is_ok(), "{outcomes:?}");
    }
    sql("UPDATE rooms SET last_seq = 1 WHERE id = 1");
    assert_eq!(append(log, hello(room(1))).await.unwrap().seq, seq(2));
}
