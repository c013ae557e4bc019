//! The query of unread counts in `docs/configuration.md`, which backends run themselves,
//! uses an index on both databases.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::databases::{Postgres, Sqlite};

const CONFIGURATION: &str = include_str!("../../../../docs/configuration.md");
const INDEX: &str = "read_pointers_user_id";

fn documented_query() -> &'static str {
    let (before, after) = CONFIGURATION.split_once("AS unread").unwrap();
    let start = before.rfind("SELECT").unwrap();
    let end = before.len() + "AS unread".len() + after.find(';').unwrap();
    &CONFIGURATION[start..end]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_query_of_unread_counts_uses_an_index_on_postgres() {
    let postgres = Postgres::fresh().await;
    let sql = |sql: &str| postgres.server.psql(sql).unwrap();
    sql("INSERT INTO rooms SELECT r, 9 FROM generate_series(1, 200) r");
    sql("INSERT INTO read_pointers SELECT r, u, 4 \
         FROM generate_series(1, 200) r, generate_series(1, 200) u");
    sql("ANALYZE");
    let plan = sql(&format!("EXPLAIN {}", documented_query()));
    assert!(plan.contains(INDEX), "{plan}");
    let unread = sql(&format!(
        "SELECT sum(unread) FROM ({}) q",
        documented_query()
    ));
    assert!(unread.contains("1000"), "{unread}");
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_query_of_unread_counts_uses_an_index_on_sqlite() {
    let sqlite = Sqlite::fresh().await;
    let mut connection = sqlite.other();
    connection
        .batch_execute(
            "WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20) \
             INSERT INTO rooms (id, last_seq) SELECT i, 9 FROM n; \
             WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 50) \
             INSERT INTO read_pointers SELECT rooms.id, n.i, 4 FROM rooms, n",
        )
        .unwrap();
    // The choice must not depend on statistics: nothing runs ANALYZE.
    let plan = format!("EXPLAIN QUERY PLAN {}", documented_query());
    let plan: Vec<Step> = diesel::sql_query(plan).load(&mut connection).unwrap();
    let plan: Vec<_> = plan.iter().map(|step| step.detail.as_str()).collect();
    assert!(plan.iter().any(|step| step.contains(INDEX)), "{plan:?}");
    let unread = format!(
        "SELECT '' || sum(unread) AS detail FROM ({})",
        documented_query()
    );
    let unread: Step = diesel::sql_query(unread)
        .get_result(&mut connection)
        .unwrap();
    assert_eq!(unread.detail, "100");
}
