//! Many read marks at once: what they cost, and what they leave alone.

use std::task::Poll;
use std::time::{Duration, Instant};

use chat_domain::ports::{Appended, MarkedRead, MessageRepository, RoomRepository};
use chat_domain::{Generation, RoomId, Seq, StorageError, UserId};
use chat_test_support::wait_until;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::databases::{Postgres, Sqlite};
use crate::{append, append_at_once, by, hello, poll_once, room, seq};

crate::on_each_database!(
    marks_of_one_pointer_at_once_move_it_to_the_largest_and_report_its_moves,
    marks_of_an_unknown_room_move_nothing,
    marks_and_sends_never_move_a_pointer_back,
    five_thousand_marks_at_once_delay_a_send_by_less_than_a_second,
);

/// How long a test waits for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(20);

fn user(number: u64) -> UserId {
    UserId::new(number.to_string()).unwrap()
}

/// A mark: the room, the user and the position.
type Mark = (RoomId, UserId, Seq);

/// Makes all calls before it awaits one. Returns the outcomes in the order of the calls.
async fn mark_at_once(
    store: &impl RoomRepository,
    marks: &[Mark],
) -> Vec<Result<MarkedRead, StorageError>> {
    let mut calls = Vec::new();
    for (room_id, user_id, position) in marks {
        let mut call = store.mark_read(*room_id, Generation::FIRST, user_id, *position);
        let answer = poll_once(&mut call).await;
        calls.push((call, answer));
    }
    let mut outcomes = Vec::new();
    for (call, answer) in calls {
        let outcome = match answer {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => call.await,
        };
        outcomes.push(outcome.map(Option::unwrap));
    }
    outcomes
}

async fn marks_of_one_pointer_at_once_move_it_to_the_largest_and_report_its_moves(
    store: &(impl MessageRepository + RoomRepository),
) {
    append_at_once(store, (0..20).map(|_| hello(room(1)))).await;
    let positions = [3, 7, 5, 30, 12, 20, 1];
    let marks = positions.map(|position| (room(1), user(2), seq(position)));
    let mut reported = Vec::new();
    for (marked, position) in mark_at_once(store, &marks).await.into_iter().zip(positions) {
        let marked = marked.unwrap();
        assert_eq!(marked.state.newest, seq(20));
        assert!(marked.state.read >= seq(position.min(20)), "{marked:?}");
        if marked.moved {
            reported.push(marked.state.read);
        }
    }
    // Each move is reported once, with the position that the pointer reached.
    assert!(
        reported.is_sorted_by(|one, next| one < next),
        "{reported:?}"
    );
    assert_eq!(reported.last(), Some(&seq(20)));
    let again = store
        .mark_read(room(1), Generation::FIRST, &user(2), seq(20))
        .await
        .unwrap()
        .unwrap();
    assert!(!again.moved);
}

async fn marks_of_an_unknown_room_move_nothing(store: &(impl MessageRepository + RoomRepository)) {
    append(store, hello(room(1))).await.unwrap();
    let marks = [1, 2, 3].map(|number| (room(number), user(2), seq(9)));
    let marked = mark_at_once(store, &marks).await.into_iter();
    let marked: Vec<_> = marked
        .map(|marked| marked.unwrap())
        .map(|marked| (marked.moved, marked.state.newest, marked.state.read))
        .collect();
    let unknown = (false, Seq::START, Seq::START);
    assert_eq!(marked, [(true, seq(1), seq(1)), unknown, unknown]);
}

/// Users send, which moves their own pointers, and mark older positions as read.
async fn marks_and_sends_never_move_a_pointer_back(
    store: &(impl MessageRepository + RoomRepository + Clone + 'static),
) {
    const ROUNDS: u64 = 40;
    let users = (1..=5).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let user_id = user(number);
            let mut last = Seq::START;
            for _ in 0..ROUNDS {
                let message = by(user_id.as_str(), "x", room(1), "x");
                let marks = [last, seq(1)].map(|position| (room(1), user_id.clone(), position));
                let (sent, marked) =
                    tokio::join!(append(&store, message), mark_at_once(&store, &marks));
                let sent = sent.unwrap().seq;
                for marked in marked {
                    assert!(marked.unwrap().state.read >= last);
                }
                let found = store.read_state(room(1), &user_id).await.unwrap().read;
                assert!(found.read >= sent, "{found:?} after {sent:?}");
                last = sent;
            }
        })
    });
    for user in users.collect::<Vec<_>>() {
        user.await.unwrap();
    }
}

async fn five_thousand_marks_at_once_delay_a_send_by_less_than_a_second(
    store: &(impl MessageRepository + RoomRepository + Clone + 'static),
) {
    const ROOMS: u64 = 100;
    for _ in 0..3 {
        let messages = (1..=ROOMS).map(|number| by("0", "x", room(number), "x"));
        for outcome in append_at_once(store, messages).await {
            outcome.unwrap();
        }
    }
    let marks = (0..5000).map(|n| (room(1 + n % ROOMS), user(1 + n / ROOMS), seq(2)));
    let marks: Vec<_> = marks.collect();
    let marking = {
        let store = store.clone();
        tokio::spawn(async move { mark_at_once(&store, &marks).await })
    };
    // Until the first is carried out, the rest is queued.
    let began = Instant::now();
    while store.read_state(room(1), &user(1)).await.unwrap().read.read == Seq::START {
        assert!(began.elapsed() < DEADLINE, "no mark is carried out");
    }
    let mut sends = 0;
    while sends == 0 || !marking.is_finished() {
        let began = Instant::now();
        let message = by("0", "x", room(1 + sends % ROOMS), "x");
        append(store, message).await.unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "send {sends} took {took:?}");
        sends += 1;
    }
    for marked in marking.await.unwrap() {
        assert!(marked.unwrap().moved);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_moves_nothing_writes_nothing_to_postgres() {
    let postgres = Postgres::fresh().await;
    let store = &postgres.database;
    append_at_once(store, (0..5).map(|_| hello(room(1)))).await;
    store
        .mark_read(room(1), Generation::FIRST, &user(2), seq(3))
        .await
        .unwrap()
        .unwrap();
    // The place of the row's version, and the transactions that wrote and locked it.
    let version = "SELECT ctid, xmin, xmax FROM read_pointers WHERE user_id = '2'";
    let before = postgres.server.psql(version).unwrap();
    let marks: Vec<_> = (1..=3).map(|n| (room(1), user(2), seq(n))).collect();
    for marked in mark_at_once(store, &marks).await {
        assert!(!marked.unwrap().moved);
    }
    assert_eq!(postgres.server.psql(version).unwrap(), before);
}

#[derive(QueryableByName)]
struct DataVersion {
    /// Changes when another connection has committed a change.
    #[diesel(sql_type = BigInt)]
    data_version: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_moves_nothing_writes_nothing_to_sqlite() {
    let sqlite = Sqlite::fresh().await;
    let store = &sqlite.database;
    append_at_once(store, (0..5).map(|_| hello(room(1)))).await;
    let mut other = sqlite.other();
    let mut version = || {
        let version = diesel::sql_query("PRAGMA data_version").get_result(&mut other);
        let version: DataVersion = version.unwrap();
        version.data_version
    };
    let first = version();
    store
        .mark_read(room(1), Generation::FIRST, &user(2), seq(3))
        .await
        .unwrap()
        .unwrap();
    let before = version();
    assert_ne!(before, first, "a mark that moves a pointer is seen");
    let marks: Vec<_> = (1..=3).map(|n| (room(1), user(2), seq(n))).collect();
    for marked in mark_at_once(store, &marks).await {
        assert!(!marked.unwrap().moved);
    }
    assert_eq!(version(), before);
}

/// Of the marks at once, those of one user cannot be stored.
async fn a_bad_mark_fails_alone(store: &(impl MessageRepository + RoomRepository)) {
    append(store, by("0", "x", room(1), "x")).await.unwrap();
    let marks: Vec<_> = (1..=50).map(|n| (room(1), user(n), seq(1))).collect();
    for (marked, number) in mark_at_once(store, &marks).await.into_iter().zip(1..) {
        match marked {
            Ok(marked) => assert!(marked.moved && number != 7),
            Err(StorageError::Unavailable(_)) => assert_eq!(number, 7),
            Err(error) => panic!("{number}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_postgres_refuses_fails_alone() {
    let postgres = Postgres::fresh().await;
    let sql = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql \
         AS $$ BEGIN RAISE 'no'; END $$; \
         CREATE TRIGGER no BEFORE INSERT ON read_pointers FOR EACH ROW \
         WHEN (NEW.user_id = '7') EXECUTE FUNCTION no()";
    postgres.server.psql(sql).unwrap();
    a_bad_mark_fails_alone(&postgres.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_sqlite_refuses_fails_alone() {
    let sqlite = Sqlite::fresh().await;
    let sql = "CREATE TRIGGER no BEFORE INSERT ON read_pointers WHEN NEW.user_id = '7' \
         BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlite.other().batch_execute(sql).unwrap();
    a_bad_mark_fails_alone(&sqlite.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_pointer_delays_neither_other_marks_nor_sends() {
    let postgres = Postgres::fresh().await;
    let store = &postgres.database;
    append(store, hello(room(1))).await.unwrap();
    let marks: Vec<_> = (1..=50).map(|n| (room(1), user(n), seq(1))).collect();
    mark_at_once(store, &marks).await;
    append(store, hello(room(1))).await.unwrap();
    let lock = "SELECT 1 FROM read_pointers WHERE user_id = '7' FOR UPDATE";
    let locker = postgres.hold(lock).await;
    let marking = {
        let store = store.clone();
        let marks = marks
            .into_iter()
            .map(|(room, user, _)| (room, user, seq(2)));
        let marks: Vec<_> = marks.collect();
        tokio::spawn(async move { mark_at_once(&store, &marks).await })
    };
    let mut sends = 0;
    while sends < 20 || !marking.is_finished() {
        let began = Instant::now();
        // The senders' pointers are among those that are being moved.
        let message = by(&(8 + sends % 40).to_string(), "x", room(1), "x");
        append(store, message).await.unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "send {sends} took {took:?}");
        sends += 1;
    }
    for (marked, number) in marking.await.unwrap().into_iter().zip(1..) {
        match marked {
            Ok(_) => assert_ne!(number, 7),
            Err(StorageError::Unavailable(_)) => assert_eq!(number, 7),
            Err(error) => panic!("{number}: {error:?}"),
        }
    }
    locker.batch_execute("COMMIT").await.unwrap();
    let marked = store
        .mark_read(room(1), Generation::FIRST, &user(7), seq(2))
        .await
        .unwrap()
        .unwrap();
    assert!(marked.moved);
}

/// Two nodes mark and send in the same rooms for the same users, each in an order of its
/// own.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_mark_and_send_without_deadlock() {
    const ROOMS: u64 = 20;
    const USERS: u64 = 20;
    let postgres = Postgres::fresh().await;
    let nodes = [postgres.database.clone(), postgres.other_node()];
    append_at_once(&nodes[0], (1..=ROOMS).map(|number| hello(room(number)))).await;
    let mut tasks = Vec::new();
    for task in 0..4_u64 {
        let node = nodes[(task % 2) as usize].clone();
        tasks.push(tokio::spawn(async move {
            for round in 1..=10_u64 {
                let place = |n: u64| (n * (2 * task + 3) + round) % (ROOMS * USERS);
                let of = |n: u64| (room(1 + place(n) % ROOMS), user(1 + place(n) / ROOMS));
                let marks = (0..ROOMS * USERS).map(|n| {
                    let (room_id, user_id) = of(n);
                    (room_id, user_id, seq(round * 4))
                });
                let marks: Vec<_> = marks.collect();
                let messages = (0..100).map(|n| {
                    let (room_id, user_id) = of(n);
                    by(user_id.as_str(), "x", room_id, "x")
                });
                let (marked, sent) =
                    tokio::join!(mark_at_once(&node, &marks), append_at_once(&node, messages));
                for marked in marked {
                    let state = marked.unwrap().state;
                    assert!(state.read >= seq(round * 4).min(state.newest), "{state:?}");
                }
                for sent in sent {
                    assert!(matches!(sent, Ok(Appended::Stored(_))), "{sent:?}");
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // A transaction that was part of a deadlock is tried again, but the server counts it. Its
    // sessions report their counts when they end.
    drop(nodes);
    let Postgres { database, server } = postgres;
    drop(database);
    let sessions = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    wait_until(DEADLINE, "the sessions have ended", || {
        Ok((server.psql(sessions)? == "0").then_some(()))
    })
    .unwrap();
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(server.psql(deadlocks).unwrap().trim(), "0");
}
