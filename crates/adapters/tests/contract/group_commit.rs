//! Many appends at once: their order, and that none affects another.

use std::task::Poll;

use chat_domain::ports::{AppendError, Appended, MessageRepository};
use chat_domain::{Seq, StorageError};
use diesel::connection::SimpleConnection as _;

use crate::databases::{Postgres, Sqlite};
use crate::{append, append_at_once, by, hello, poll_once, room, seq, up_to, with_id};

crate::on_each_database!(
    calls_in_progress_are_stored_in_the_order_in_which_they_were_made,
    interleaved_rooms_and_users_keep_their_order,
    repeats_and_conflicts_made_at_once_are_distinguished,
    repeats_of_stored_messages_among_new_ones_leave_no_gap,
    a_cancelled_call_is_carried_out,
    many_long_messages_are_stored,
);

async fn calls_in_progress_are_stored_in_the_order_in_which_they_were_made(
    log: &impl MessageRepository,
) {
    let messages = (0..1000).map(|n| by("42", "Ada", room(1), &n.to_string()));
    for (outcome, number) in append_at_once(log, messages).await.into_iter().zip(1..) {
        assert!(matches!(outcome, Ok(Appended::Stored(m)) if m.seq == seq(number)));
    }
    let read = log
        .after(room(1), Seq::START, up_to(2000))
        .await
        .unwrap()
        .messages;
    let read: Vec<_> = read.iter().map(|m| m.content.as_str().to_owned()).collect();
    assert_eq!(read, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
}

async fn interleaved_rooms_and_users_keep_their_order(log: &impl MessageRepository) {
    const ROOMS: u64 = 20;
    let messages = (0..2000_u64).map(|n| {
        let (user, name) = ((n % 7).to_string(), format!("name {}", n % 3));
        let message = by(&user, &name, room(1 + n % ROOMS), &n.to_string());
        match n % 2 {
            0 => with_id(message, &n.to_string()),
            _ => message,
        }
    });
    for outcome in append_at_once(log, messages).await {
        assert!(matches!(outcome, Ok(Appended::Stored(_))));
    }
    for number in 0..ROOMS {
        let read = log
            .after(room(1 + number), Seq::START, up_to(200))
            .await
            .unwrap()
            .messages;
        let read = read.iter().map(|m| m.content.as_str().parse().unwrap());
        let sent: Vec<u64> = (0..2000).filter(|n| n % ROOMS == number).collect();
        assert_eq!(read.collect::<Vec<u64>>(), sent);
    }
}

async fn repeats_and_conflicts_made_at_once_are_distinguished(log: &impl MessageRepository) {
    let mut messages = Vec::new();
    for n in 0..20 {
        messages.push(with_id(hello(room(1)), "same"));
        messages.push(with_id(by("42", "Ada", room(1), "other"), "same"));
        messages.push(by("42", "Ada", room(1), &n.to_string()));
    }
    let outcomes = append_at_once(log, messages).await;
    for (n, chunk) in outcomes.chunks(3).enumerate() {
        match &chunk[0] {
            Ok(Appended::Stored(message)) => assert_eq!((n, message.seq), (0, seq(1))),
            Ok(Appended::Repeat(message)) => assert_eq!((n > 0, message.seq), (true, seq(1))),
            error => panic!("{error:?}"),
        }
        assert!(matches!(chunk[1], Err(AppendError::Conflict)));
        let number = seq(n as u64 + 2);
        assert!(matches!(&chunk[2], Ok(Appended::Stored(m)) if m.seq == number));
    }
}

async fn repeats_of_stored_messages_among_new_ones_leave_no_gap(log: &impl MessageRepository) {
    let numbered = |n: u64| with_id(by("42", "Ada", room(1 + n % 3), "x"), &n.to_string());
    append_at_once(log, (0..30).map(numbered)).await;
    // Repeats, new messages and conflicts at once.
    let again = (0..60).map(numbered);
    let other = (0..30).map(|n| with_id(by("42", "Ada", room(1 + n % 3), "y"), &n.to_string()));
    let outcomes = append_at_once(log, again.chain(other)).await;
    for (outcome, n) in outcomes.into_iter().zip(0..) {
        match outcome {
            Ok(Appended::Repeat(message)) => {
                assert!(n < 30);
                assert_eq!(message.client_message_id.unwrap().as_str(), n.to_string());
            }
            Ok(Appended::Stored(_)) => assert!((30..60).contains(&n)),
            Err(AppendError::Conflict) => assert!(n >= 60),
            Err(error) => panic!("{error:?}"),
        }
    }
    for number in 1..=3 {
        let read = log
            .after(room(number), Seq::START, up_to(100))
            .await
            .unwrap()
            .messages;
        let seqs: Vec<_> = read.iter().map(|m| m.seq.get()).collect();
        assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    }
}

async fn a_cancelled_call_is_carried_out(log: &impl MessageRepository) {
    for _ in 0..50 {
        let mut call = log.append(hello(room(1)));
        assert!(poll_once(&mut call).await.is_pending());
    }
    // A call that was never polled was never made.
    drop(log.append(hello(room(1))));
    assert_eq!(append(log, hello(room(1))).await.unwrap().seq, seq(51));
}

async fn many_long_messages_are_stored(log: &impl MessageRepository) {
    let text = "🦀".repeat(4000);
    let messages = (0..200).map(|_| by("42", "Ada", room(1), &text));
    for (outcome, number) in append_at_once(log, messages).await.into_iter().zip(1..) {
        assert!(matches!(outcome, Ok(Appended::Stored(m)) if m.seq == seq(number)));
    }
}

/// Of 200 messages at once, every fiftieth cannot be stored.
async fn bad_rows_fail_alone(log: &impl MessageRepository) {
    let is_bad = |n: u64| n % 50 == 17;
    let messages = (0..200).map(|n| {
        let text = if is_bad(n) { "bad" } else { "good" };
        by(&(n % 5).to_string(), "x", room(1 + n % 4), text)
    });
    for (outcome, n) in append_at_once(log, messages).await.into_iter().zip(0..) {
        match outcome {
            Ok(Appended::Stored(_)) => assert!(!is_bad(n)),
            Err(AppendError::Storage(StorageError::Unavailable(_))) => assert!(is_bad(n)),
            other => panic!("{n}: {other:?}"),
        }
    }
    let mut total = 0;
    for number in 1..=4 {
        let read = log
            .after(room(number), Seq::START, up_to(100))
            .await
            .unwrap()
            .messages;
        let seqs: Vec<_> = read.iter().map(|m| m.seq.get()).collect();
        assert_eq!(seqs, (1..=read.len() as u64).collect::<Vec<_>>());
        total += read.len();
    }
    assert_eq!(total, 196);
}

const RAISE: &str = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql \
     AS $$ BEGIN RAISE 'no'; END $$; ";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgres_refuses_fails_alone() {
    let postgres = Postgres::fresh().await;
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON messages FOR EACH ROW \
         WHEN (NEW.content = 'bad') EXECUTE FUNCTION no()";
    postgres.server.psql(&format!("{RAISE}{trigger}")).unwrap();
    bad_rows_fail_alone(&postgres.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgres_refuses_at_the_commit_fails_alone() {
    let postgres = Postgres::fresh().await;
    let trigger = "CREATE CONSTRAINT TRIGGER no AFTER INSERT ON messages \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
         WHEN (NEW.content = 'bad') EXECUTE FUNCTION no()";
    postgres.server.psql(&format!("{RAISE}{trigger}")).unwrap();
    bad_rows_fail_alone(&postgres.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_sqlite_refuses_fails_alone() {
    let sqlite = Sqlite::fresh().await;
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON messages WHEN NEW.content = 'bad' \
         BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlite.other().batch_execute(trigger).unwrap();
    bad_rows_fail_alone(&sqlite.database).await;
}

/// Makes more calls at once than may wait: the excess is refused in the first poll.
async fn a_full_queue_refuses_at_once(log: &impl MessageRepository) {
    let mut calls = Vec::new();
    let mut refused = 0;
    for _ in 0..13_000 {
        let mut call = log.append(hello(room(1)));
        match poll_once(&mut call).await {
            Poll::Pending => calls.push(call),
            Poll::Ready(Err(AppendError::Storage(StorageError::Unavailable(_)))) => refused += 1,
            Poll::Ready(other) => panic!("{other:?}"),
        }
    }
    // The queue, less what is kept free for other users, and what was taken from it.
    assert!((9_000..=10_600).contains(&calls.len()), "{}", calls.len());
    assert_eq!(calls.len() + refused, 13_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    let mut locker = sqlite.other();
    locker.batch_execute("BEGIN EXCLUSIVE").unwrap();
    a_full_queue_refuses_at_once(&sqlite.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_on_postgres() {
    let postgres = Postgres::fresh().await;
    let _locker = postgres.hold("LOCK TABLE rooms").await;
    a_full_queue_refuses_at_once(&postgres.database).await;
}
