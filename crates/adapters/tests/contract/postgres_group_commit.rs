//! Many appends at once on PostgreSQL: locks, other nodes, broken connections.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use chat_adapters::postgres::Database;
use chat_domain::ports::{AppendError, Appended, MessageRepository};
use chat_domain::{Seq, StorageError};
use chat_test_support::{psql, wait_until};
use tokio_postgres::{Client, NoTls};

use crate::databases::Postgres;
use crate::{append, append_at_once, by, hello, poll_once, room, seq, up_to, with_id};

impl Postgres {
    /// Opens a transaction that is not the database's own, and runs these statements in it.
    pub(crate) async fn hold(&self, sql: &str) -> Client {
        let url = self.server.url();
        let connecting = tokio_postgres::connect(&url, NoTls);
        let (client, connection) = connecting.await.unwrap();
        tokio::spawn(connection);
        client
            .batch_execute(&format!("BEGIN; {sql}"))
            .await
            .unwrap();
        client
    }

    /// Waits until a session of the database waits for this event.
    pub(crate) async fn wait_for_event(&self, event: &str) {
        let query = format!(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event = '{event}'"
        );
        let url = self.server.url();
        let waiting = tokio::task::spawn_blocking(move || {
            wait_until(Duration::from_secs(20), "a session waits", || {
                Ok((psql(&url, &query)?.trim() != "0").then_some(()))
            })
        });
        waiting.await.unwrap().unwrap();
    }

    /// Opens the same database as another node does.
    pub(crate) fn other_node(&self) -> Database {
        Database::open(&self.server.url().parse().unwrap(), 4).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_room_delays_only_itself() {
    let postgres = Postgres::fresh().await;
    let log = &postgres.database;
    append(log, hello(room(3))).await.unwrap();
    let lock = "SELECT 1 FROM rooms WHERE id = 3 FOR UPDATE";
    let locker = postgres.hold(lock).await;
    let stuck = {
        let log = log.clone();
        let messages = (0..20).map(|n| by("1", "x", room(3), &n.to_string()));
        tokio::spawn(async move { append_at_once(&log, messages).await })
    };
    postgres.server.wait_for_lock_waits(1).unwrap();
    for round in 0..5 {
        let began = Instant::now();
        let others = (0..100).map(|n| by("1", "x", room([1, 2, 4, 5][n % 4]), "x"));
        for outcome in append_at_once(log, others).await {
            assert!(matches!(outcome, Ok(Appended::Stored(_))), "{outcome:?}");
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{round}: {took:?}");
    }
    assert!(!stuck.is_finished());
    locker.batch_execute("COMMIT").await.unwrap();
    for (outcome, number) in stuck.await.unwrap().into_iter().zip(2..) {
        assert!(matches!(outcome, Ok(Appended::Stored(m)) if m.seq == seq(number)));
    }
    append(log, hello(room(3))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_stays_locked_is_refused_and_delays_no_other_room() {
    let postgres = Postgres::fresh().await;
    let log = &postgres.database;
    // Another transaction is creating the room.
    let locker = postgres.hold("INSERT INTO rooms VALUES (3, 7)").await;
    let began = Instant::now();
    let messages = (0..40).map(|n| by("1", "x", room(1 + n % 4), "x"));
    for (outcome, n) in append_at_once(log, messages).await.into_iter().zip(0..) {
        match outcome {
            Ok(Appended::Stored(_)) => assert_ne!(n % 4, 2),
            Err(AppendError::Storage(StorageError::Unavailable(_))) => assert_eq!(n % 4, 2),
            other => panic!("{other:?}"),
        }
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    // The lock is known by now: the others do not wait for it again.
    let began = Instant::now();
    let stuck = {
        let log = log.clone();
        tokio::spawn(async move { append(&log, hello(room(3))).await })
    };
    for _ in 0..20 {
        append(log, hello(room(1))).await.unwrap();
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
    locker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(stuck.await.unwrap().unwrap().seq, seq(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_room_delays_its_neighbours_on_no_node() {
    let postgres = Postgres::fresh().await;
    let nodes = [postgres.database.clone(), postgres.other_node()];
    for number in 1..=9 {
        append(&nodes[0], hello(room(number))).await.unwrap();
    }
    let lock = "SELECT 1 FROM rooms WHERE id = 5 FOR UPDATE";
    let locker = postgres.hold(lock).await;
    let writers = nodes.map(|node| {
        tokio::spawn(async move {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(9) {
                // A call that was polled once is carried out: this one is not awaited.
                let mut locked = node.append(hello(room(5)));
                assert!(poll_once(&mut locked).await.is_pending());
                let sent = Instant::now();
                let neighbours = [1, 2, 3, 4, 6, 7, 8, 9].map(|number| hello(room(number)));
                for outcome in append_at_once(&node, neighbours).await {
                    assert!(matches!(outcome, Ok(Appended::Stored(_))), "{outcome:?}");
                }
                let took = sent.elapsed();
                assert!(took < Duration::from_secs(2), "{took:?}");
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    locker.batch_execute("COMMIT").await.unwrap();
    append(&postgres.database, hello(room(5))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_delays_a_message_and_does_not_fail_it() {
    let postgres = Postgres::fresh().await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    for table in ["messages", "rooms", "read_pointers"] {
        let locker = postgres.hold(&format!("LOCK TABLE {table}")).await;
        let log = postgres.database.clone();
        let waiting = tokio::spawn(async move { append(&log, hello(room(1))).await });
        // Each attempt waits for a second, in a transaction of its own.
        let mut attempts = BTreeSet::new();
        wait_until(Duration::from_secs(10), "there is a second attempt", || {
            let waiting = "SELECT virtualtransaction FROM pg_locks WHERE NOT granted";
            let waiting = postgres.server.psql(waiting)?;
            attempts.extend(waiting.lines().map(str::to_owned));
            Ok((attempts.len() > 1).then_some(()))
        })
        .unwrap();
        locker.batch_execute("COMMIT").await.unwrap();
        waiting.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_rooms_without_a_deadlock_or_a_gap() {
    const ROOMS: u64 = 50;
    let postgres = Postgres::fresh().await;
    // Whatever the database's default is.
    let name = postgres.server.name();
    let strict = "SET default_transaction_isolation = 'serializable'";
    let strict = format!("ALTER DATABASE {name} {strict}");
    postgres.server.psql(&strict).unwrap();
    let nodes = [postgres.other_node(), postgres.other_node()];
    let mut writers = Vec::new();
    for writer in 0..10_u64 {
        let node = nodes[(writer % 2) as usize].clone();
        writers.push(tokio::spawn(async move {
            let user = (writer % 3).to_string();
            for round in 0..10_u64 {
                // Each writer visits the rooms in an order of its own.
                let messages = (0..40).map(|n| {
                    let place = (n * (writer + 7) + round) % ROOMS;
                    let text = format!("{writer} {}", round * 40 + n);
                    by(&user, &format!("name {writer}"), room(1 + place), &text)
                });
                for outcome in append_at_once(&node, messages).await {
                    outcome.unwrap();
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let mut total = 0;
    for number in 1..=ROOMS {
        let read = nodes[0].after(room(number), Seq::START, up_to(5000)).await;
        let read = read.unwrap().messages;
        let seqs: Vec<_> = read.iter().map(|m| m.seq.get()).collect();
        assert_eq!(seqs, (1..=read.len() as u64).collect::<Vec<_>>());
        let mut last = HashMap::<String, u64>::new();
        for message in &read {
            let (writer, n) = message.content.as_str().split_once(' ').unwrap();
            let n: u64 = n.parse().unwrap();
            let before = last.insert(writer.to_owned(), n);
            assert!(before.is_none_or(|before| before < n), "{writer} {n}");
        }
        total += read.len();
    }
    assert_eq!(total, 10 * 10 * 40);
}

/// Both nodes store the same message, and wait for the same room.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_that_two_nodes_store_at_once_are_stored_once() {
    let postgres = Postgres::fresh().await;
    let nodes = [postgres.database.clone(), postgres.other_node()];
    append(&nodes[0], hello(room(1))).await.unwrap();
    for round in 0..5 {
        let lock = postgres.hold("SELECT 1 FROM rooms FOR UPDATE").await;
        let sent = with_id(hello(room(1)), &format!("round-{round}"));
        let storing = nodes.clone().map(|node| {
            let repeats = vec![sent.clone(); 10];
            tokio::spawn(async move { append_at_once(&node, repeats).await })
        });
        postgres.server.wait_for_lock_waits(2).unwrap();
        lock.batch_execute("COMMIT").await.unwrap();
        let mut stored = 0;
        for storing in storing {
            for outcome in storing.await.unwrap() {
                let message = match outcome.unwrap() {
                    Appended::Stored(message) => {
                        stored += 1;
                        message
                    }
                    Appended::Repeat(message) => message,
                };
                assert_eq!(message.seq, seq(round + 2));
            }
        }
        assert_eq!(stored, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resends_constantly_does_not_roll_back_the_messages_of_others() {
    const BATCH: i64 = 50;
    let postgres = Postgres::fresh().await;
    let log = &postgres.database;
    let repeat = with_id(by("1", "x", room(1), "x"), "repeat");
    append(log, repeat.clone()).await.unwrap();
    for round in 0..30 {
        let honest = (1..BATCH).map(|n| {
            let id = format!("{round}-{n}");
            with_id(by("2", "x", room(1 + n.unsigned_abs() % 3), "x"), &id)
        });
        let outcomes = append_at_once(log, honest.chain([repeat.clone()])).await;
        let (repeat, honest) = outcomes.split_last().unwrap();
        assert!(matches!(repeat, Ok(Appended::Repeat(_))), "{repeat:?}");
        for outcome in honest {
            assert!(matches!(outcome, Ok(Appended::Stored(_))), "{outcome:?}");
        }
    }
    // Rows that are rolled back have used up ids. Only the first repeat was unexpected.
    let used_up = "SELECT max(id) - count(*) FROM messages";
    let used_up: i64 = postgres
        .server
        .psql(used_up)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(used_up <= BATCH, "{used_up} rows were rolled back");
}

/// The messages of a writer and the answers to them, in the order of the calls.
type Answers = Vec<(String, Result<Appended, AppendError>)>;

async fn write_much(log: Database, writer: u64) -> Answers {
    let mut answers = Vec::new();
    for round in 0..30 {
        let ids: Vec<_> = (0..20)
            .map(|n| format!("{writer}-{}", round * 20 + n))
            .collect();
        let message = |id: &String| with_id(by("1", "x", room(1 + writer % 4), id), id);
        let messages: Vec<_> = ids.iter().map(message).collect();
        let outcomes = append_at_once(&log, messages).await;
        answers.extend(ids.iter().cloned().zip(outcomes));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_correct_while_the_server_ends_connections() {
    let postgres = Postgres::fresh().await;
    let log = postgres.database.clone();
    append(&log, hello(room(9))).await.unwrap();
    let writing: Vec<_> = (0..8)
        .map(|writer| tokio::spawn(write_much(log.clone(), writer)))
        .collect();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut ended = 0;
    while !writing.iter().all(tokio::task::JoinHandle::is_finished) {
        let server = postgres.server.url();
        let ending = tokio::task::spawn_blocking(move || chat_test_support::psql(&server, end));
        let count = ending.await.unwrap().unwrap();
        ended += count.trim().parse::<u32>().unwrap();
    }
    assert!(ended > 0);
    let reader = postgres.other_node();
    let mut stored = HashMap::new();
    for number in 1..=4 {
        let read = reader
            .after(room(number), Seq::START, up_to(5000))
            .await
            .unwrap()
            .messages;
        let seqs: Vec<_> = read.iter().map(|m| m.seq.get()).collect();
        assert_eq!(seqs, (1..=read.len() as u64).collect::<Vec<_>>());
        for message in read {
            stored.insert(message.content.as_str().to_owned(), message.seq);
        }
    }
    for writer in writing {
        let mut last = Seq::START;
        for (id, outcome) in writer.await.unwrap() {
            let found = stored.get(&id).copied();
            match outcome {
                Ok(Appended::Stored(message)) => assert_eq!(found, Some(message.seq), "{id}"),
                Err(AppendError::Storage(StorageError::Unavailable(_))) => {
                    assert_eq!(found, None, "{id}");
                }
                Err(AppendError::Storage(StorageError::OutcomeUnknown(_))) => {}
                other => panic!("{id}: {other:?}"),
            }
            if let Some(found) = found {
                assert!(found > last, "{id}: {found} after {last}");
                last = found;
            }
        }
    }
}
