//! The migration after which a room may have rules before its first message, on databases with
//! data.

use chat_domain::ports::{MessageRepository, RoomDirectory};
use chat_domain::{Role, RulesNumber, Seq};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::databases::{Postgres, Sqlite};
use crate::room_directory::{change, set};
use crate::{append, hello, room, seq, up_to};

const SQLITE_DOWN: &str =
    include_str!("../../../../migrations/sqlite/0007_rooms_with_rules/down.sql");
const POSTGRES_DOWN: &str =
    include_str!("../../../../migrations/postgres/0007_rooms_with_rules/down.sql");

const FORGET: &str = "DELETE FROM __diesel_schema_migrations WHERE version = '0007'";

/// Refused before the migration.
const EMPTY: &str = "INSERT INTO rooms (id, last_seq) VALUES (77, 0)";
/// Always refused.
const NEGATIVE: &str = "INSERT INTO rooms (id, last_seq) VALUES (78, -1)";

/// Rooms 1 and 2 have messages, and room 3 has only rules.
async fn fill(store: &(impl MessageRepository + RoomDirectory)) {
    append(store, hello(room(1))).await.unwrap();
    append(store, hello(room(1))).await.unwrap();
    append(store, hello(room(2))).await.unwrap();
    change(store, set("1", Role::Owner)).await;
    let only_rules = set("1", Role::Owner);
    let made = store
        .change(room(3), RulesNumber::NONE, &only_rules, None)
        .await;
    made.unwrap();
}

/// The messages are there, and rooms have no rules any more.
async fn check(store: &(impl MessageRepository + RoomDirectory)) {
    for (number, expected) in [(1, 2), (2, 1), (3, 0)] {
        let log = store.after(room(number), Seq::START, up_to(9)).await;
        let log = log.unwrap();
        assert_eq!(log.newest, seq(expected));
        assert_eq!(log.messages.len() as u64, expected);
        let snapshot = store.snapshot(room(number), &[]).await.unwrap();
        assert_eq!(
            (snapshot.rules, snapshot.settings),
            (RulesNumber::NONE, None)
        );
        let next = append(store, hello(room(number))).await.unwrap();
        assert_eq!(next.seq, seq(expected + 1));
    }
    assert!(change(store, set("1", Role::Owner)).await.has_changed);
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    value: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_every_row_index_and_trigger() {
    let sqlite = Sqlite::fresh().await;
    fill(&sqlite.database).await;
    let mut down = sqlite.other();
    down.batch_execute(&format!(
        "PRAGMA foreign_keys = ON; BEGIN IMMEDIATE; {SQLITE_DOWN}; {FORGET}; COMMIT; \
         CREATE INDEX of_operator ON rooms (last_seq); \
         CREATE TABLE noted (id INTEGER); \
         CREATE TRIGGER of_operator AFTER UPDATE ON rooms \
         BEGIN INSERT INTO noted VALUES (NEW.id); END; \
         ALTER TABLE rooms ADD COLUMN of_operator TEXT DEFAULT 'x'"
    ))
    .unwrap();
    // A connection that is open meanwhile.
    let mut other = sqlite.other();
    other.batch_execute("PRAGMA foreign_keys = ON").unwrap();
    assert!(other.batch_execute(EMPTY).is_err());

    let applied = sqlite.database.migrate().await.unwrap();
    assert_eq!(applied, ["0007_rooms_with_rules"]);
    assert!(other.batch_execute(NEGATIVE).is_err());
    other.batch_execute(EMPTY).unwrap();
    let unknown_room = "INSERT INTO messages (room_id, seq, user_id, content, created_at) \
         VALUES (99, 1, '42', 'x', '2026-01-31T12:00:00.000Z')";
    assert!(other.batch_execute(unknown_room).is_err());
    let delete = "DELETE FROM rooms WHERE id = 2";
    assert!(other.batch_execute(delete).is_err());
    check(&sqlite.database).await;
    let noted = diesel::dsl::sql::<BigInt>("SELECT count(*) FROM noted");
    assert!(noted.get_result::<i64>(&mut other).unwrap() > 0);
    let names = "SELECT type || of_operator AS value FROM rooms, sqlite_schema \
         WHERE rooms.id = 1 AND name = 'of_operator' ORDER BY type";
    let names: Vec<TextRow> = diesel::sql_query(names).load(&mut other).unwrap();
    let names: Vec<_> = names.iter().map(|row| row.value.as_str()).collect();
    assert_eq!(names, ["indexx", "triggerx"]);
    let sound = diesel::dsl::sql::<Text>("PRAGMA integrity_check");
    assert_eq!(
        sound.get_result::<String>(&mut sqlite.other()).unwrap(),
        "ok"
    );
    let broken = "SELECT count(*) FROM pragma_foreign_key_check";
    let broken = diesel::dsl::sql::<BigInt>(broken);
    assert_eq!(broken.get_result::<i64>(&mut sqlite.other()).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_every_row() {
    let postgres = Postgres::fresh().await;
    fill(&postgres.database).await;
    let sql = |sql: &str| postgres.server.psql(sql);
    sql(&format!("BEGIN; {POSTGRES_DOWN}; {FORGET}; COMMIT")).unwrap();
    assert!(sql(EMPTY).is_err());
    let again = postgres.other_node();
    assert_eq!(again.migrate().await.unwrap(), ["0007_rooms_with_rules"]);
    assert!(sql(NEGATIVE).is_err());
    sql(EMPTY).unwrap();
    check(&again).await;
}
