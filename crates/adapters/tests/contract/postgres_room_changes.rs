//! What [`RoomRepository::changed_since`] reports on PostgreSQL: other programs, concurrent
//! transactions, and the table that is kept small.

use std::time::Duration;

use chat_adapters::postgres::Database;
use chat_domain::ports::RoomRepository;
use chat_test_support::{Cluster, ClusterOptions, wait_until};

use crate::databases::Postgres;
use crate::room_changes::Reader;
use crate::{append, append_at_once, error_chain, hello, room};

const COUNT: &str = "UPDATE rooms SET last_seq = last_seq + 1 WHERE id";

impl Postgres {
    /// Deletes what is committed now, as if it was old enough, while a reader that has seen
    /// it reads nothing new.
    async fn prune_behind(&self, reader: &mut Reader<'_, Database>) {
        let prune = "UPDATE room_changes_pruning SET next_at = 'epoch'; \
             SELECT prune_room_changes()";
        // The table of pruning moves on twice before rows are deleted.
        for _ in 0..3 {
            self.server.psql(prune).unwrap();
            assert_eq!(reader.next().await, []);
        }
        assert_eq!(self.rows(), "0");
    }

    fn rows(&self) -> String {
        let rows = self.server.psql("SELECT count(*) FROM room_changes");
        rows.unwrap().trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_stores_is_reported() {
    let postgres = Postgres::fresh().await;
    let mut reader = Reader::start(&postgres.database).await;
    let sql = |sql: &str| drop(postgres.server.psql(sql).unwrap());
    sql("INSERT INTO rooms (id, last_seq) VALUES (1, 5), (2, 6)");
    assert_eq!(reader.next().await, [(1, 5), (2, 6)]);
    sql(&format!("{COUNT} < 3"));
    assert_eq!(reader.next().await, [(1, 6), (2, 7)]);
    sql(
        "INSERT INTO rooms AS room (id, last_seq) VALUES (2, 1), (3, 1) \
         ON CONFLICT (id) DO UPDATE SET last_seq = room.last_seq + 1",
    );
    assert_eq!(reader.next().await, [(2, 8), (3, 1)]);
    // Rules are noted, too.
    sql("UPDATE rooms SET rules = 1 WHERE id = 2");
    assert_eq!(reader.next().await, [(2, 8)]);
    // Nothing has moved.
    sql("UPDATE rooms SET last_seq = last_seq, rules = rules");
    assert_eq!(reader.next().await, []);
    sql("UPDATE rooms SET rules = 1 WHERE id = 3");
    assert_eq!(reader.next_with_rules().await, [(3, 1, 1)]);
    // Nodes of an earlier version write and read without the column.
    sql("INSERT INTO room_changes (room_ids, bases, counts) VALUES ('{3}', '{1}', '{0}')");
    assert_eq!(reader.next_with_rules().await, [(3, 1, 0)]);
    sql("SELECT server, snapshot::text, ids, seqs FROM room_changes_since(NULL, NULL)");
    // Beside a call of the function, in one transaction.
    sql(&format!(
        "BEGIN; SELECT append_messages(0, '{{4}}', '{{1}}', '{{1}}', '{{1}}', '{{42}}', '{{x}}', \
         '{{NULL}}', ARRAY[now()], '{{}}', '{{}}', '{{}}', '{{}}', '{{}}'); {COUNT} = 1; COMMIT"
    ));
    assert_eq!(reader.next().await, [(1, 7), (4, 1)]);
    // A row that is not valid hides no other.
    sql("INSERT INTO room_changes (room_ids, bases, counts) \
         VALUES ('{0, 9, 5}', '{1, 9007199254740992, 7}', '{0, 1, 0}')");
    assert_eq!(reader.next().await, [(5, 7)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_a_batch_leaves_out_is_not_reported() {
    let postgres = Postgres::fresh().await;
    let log = &postgres.database;
    append(log, hello(room(1))).await.unwrap();
    let mut reader = Reader::start(log).await;
    let locker = postgres
        .hold("SELECT 1 FROM rooms WHERE id = 1 FOR UPDATE")
        .await;
    let sending = {
        let log = log.clone();
        tokio::spawn(async move { append_at_once(&log, [hello(room(2)), hello(room(1))]).await })
    };
    postgres.server.wait_for_lock_waits(1).unwrap();
    assert_eq!(reader.next().await, [(2, 1)]);
    locker.batch_execute("COMMIT").await.unwrap();
    for outcome in sending.await.unwrap() {
        outcome.unwrap();
    }
    assert_eq!(reader.next().await, [(1, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_reported_once_they_are_committed_whatever_their_order() {
    let postgres = Postgres::fresh().await;
    let log = &postgres.database;
    for n in 1..=4 {
        append(log, hello(room(n))).await.unwrap();
    }
    let mut reader = Reader::start(log).await;
    let first = postgres.hold(&format!("{COUNT} = 1")).await;
    assert_eq!(reader.next().await, []);
    let second = postgres.hold(&format!("{COUNT} = 2")).await;
    let third = postgres
        .hold(&format!("SAVEPOINT s; {COUNT} = 3; RELEASE s"))
        .await;
    append(log, hello(room(4))).await.unwrap();
    assert_eq!(reader.next().await, [(4, 2)]);
    third.batch_execute("COMMIT").await.unwrap();
    assert_eq!(reader.next().await, [(3, 2)]);
    // The longest has been open since before most reads, and writes more.
    let earlier = reader.cursor.clone();
    first
        .batch_execute(&format!("{COUNT} = 1; COMMIT"))
        .await
        .unwrap();
    assert_eq!(reader.next().await, [(1, 3)]);
    second.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(reader.next().await, []);
    reader.cursor = earlier;
    assert_eq!(reader.next().await, [(1, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_reader_that_is_behind_what_was_deleted_finds_the_changes_unknown() {
    let postgres = Postgres::fresh().await;
    let log = &postgres.database;
    append(log, hello(room(1))).await.unwrap();
    let (mut reader, mut late) = (Reader::start(log).await, Reader::start(log).await);
    let open = postgres.hold(&format!("{COUNT} = 1")).await;
    for n in 2..=4 {
        append(log, hello(room(n))).await.unwrap();
        assert_eq!(reader.next().await, [(n, 1)]);
    }
    postgres.prune_behind(&mut reader).await;
    assert_eq!(late.known().await, None);
    assert_eq!(late.next().await, []);

    // What was committed late is kept for as long as anything else.
    open.batch_execute("COMMIT").await.unwrap();
    let mut later = Reader::start(log).await;
    later.cursor = late.cursor.clone();
    assert_eq!(reader.next().await, [(1, 2)]);
    assert_eq!(late.next().await, [(1, 2)]);
    postgres.prune_behind(&mut reader).await;
    assert_eq!(later.known().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_kept_for_a_while_and_nodes_do_not_wait_for_each_other() {
    let postgres = Postgres::fresh().await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    let mut reader = Reader::start(&postgres.database).await;
    append(&postgres.database, hello(room(1))).await.unwrap();
    for _ in 0..5 {
        postgres.server.psql("SELECT prune_room_changes()").unwrap();
    }
    assert_eq!(postgres.rows(), "2");
    let locker = postgres
        .hold("SELECT 1 FROM room_changes_pruning FOR UPDATE")
        .await;
    postgres
        .server
        .psql("SET lock_timeout = 1; SELECT prune_room_changes()")
        .unwrap();
    drop(locker);
    assert_eq!(reader.next().await, [(1, 2)]);
}

/// A node does it without being asked: what is restored means nothing on another server.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_dump_of_another_server_restored_are_deleted() {
    let postgres = Postgres::fresh().await;
    let log = &postgres.database;
    let mut reader = Reader::start(log).await;
    postgres
        .server
        .psql(
            "INSERT INTO room_changes (xid, room_ids, bases, counts) \
             VALUES ('9999999999', '{1}', '{0}', '{1}'), ('3', '{1}', '{0}', '{1}'); \
             UPDATE room_changes_pruning SET server = 'epoch', \
             pruned = '9999999:9999999:', next = '9999999:9999999:'",
        )
        .unwrap();
    assert_eq!(reader.known().await, None);
    let other = postgres.other_node();
    other.changed_since(None).await.unwrap();
    wait_until(Duration::from_secs(20), "the rows are deleted", || {
        Ok((postgres.rows() == "0").then_some(()))
    })
    .unwrap();
    reader.known().await;
    append(log, hello(room(1))).await.unwrap();
    assert_eq!(reader.next().await, [(1, 1)]);
    postgres.prune_behind(&mut reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_unknown_after_a_restart() {
    let mut server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let database = Database::open(&server.url("chat").parse().unwrap(), 2).unwrap();
    database.migrate().await.unwrap();
    append(&database, hello(room(1))).await.unwrap();
    let mut reader = Reader::start(&database).await;
    append(&database, hello(room(1))).await.unwrap();
    server.stop_immediate().unwrap();
    database
        .changed_since(Some(reader.cursor.clone()))
        .await
        .unwrap_err();
    server.start_again().unwrap();
    // A session that broke meanwhile may be noticed only now.
    while database.changed_since(None).await.is_err() {}
    assert_eq!(reader.known().await, None);
    append(&database, hello(room(1))).await.unwrap();
    assert_eq!(reader.next().await, [(1, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_needs_the_privileges_on_rooms_only() {
    let server = Cluster::start(ClusterOptions::default()).unwrap();
    server.create_database("chat").unwrap();
    let url = server.url("chat");
    let owner = Database::open(&url.parse().unwrap(), 1).unwrap();
    owner.migrate().await.unwrap();
    server
        .psql(
            "chat",
            "CREATE ROLE gateway LOGIN; CREATE ROLE other LOGIN; \
             GRANT SELECT, INSERT, UPDATE ON rooms, users, read_pointers TO gateway; \
             GRANT SELECT, INSERT ON messages TO gateway",
        )
        .unwrap();
    let (_, address) = url.split_once('@').unwrap();
    let open = |role: &str| {
        let url = format!("postgres://{role}@{address}");
        Database::open(&url.parse().unwrap(), 2).unwrap()
    };
    let gateway = open("gateway");
    let mut reader = Reader::start(&gateway).await;
    append(&gateway, hello(room(1))).await.unwrap();
    assert_eq!(reader.next().await, [(1, 1)]);
    for sql in [
        format!("{COUNT} = 1"),
        "SELECT prune_room_changes()".to_owned(),
    ] {
        let sql = format!("SET ROLE gateway; {sql}");
        server.psql("chat", &sql).unwrap();
    }
    assert_eq!(reader.next().await, [(1, 2)]);
    let refused = open("other").changed_since(None).await.unwrap_err();
    let chain = error_chain(&refused);
    assert!(chain.contains("permission denied"), "{chain}");
}
