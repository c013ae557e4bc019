//! Everything that a database contains, from its catalogue: tables that a later migration adds are
//! included.

use chat_test_support::TestDatabase;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use crate::databases::Sqlite;

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Nullable<Text>)]
    text: Option<String>,
}

/// Returns every row of every table, with the tables' names.
pub(crate) fn of_sqlite(database: &Sqlite) -> String {
    let mut connection = database.other();
    let mut query = |sql: &str| {
        let rows = diesel::sql_query(sql).load::<TextRow>(&mut connection);
        let rows = rows.unwrap().into_iter().filter_map(|row| row.text);
        rows.collect::<Vec<_>>()
    };
    let tables = query("SELECT name AS text FROM sqlite_schema WHERE type = 'table'");
    let mut dump = String::new();
    for table in tables {
        let columns = query(&format!(
            "SELECT name AS text FROM pragma_table_info('{table}')"
        ));
        let columns: Vec<_> = columns
            .iter()
            .map(|column| format!("quote(\"{column}\")"))
            .collect();
        let columns = columns.join(" || '|' || ");
        for row in query(&format!("SELECT {columns} AS text FROM \"{table}\"")) {
            dump.push_str(&format!("{table}: {row}\n"));
        }
    }
    dump
}

/// Returns every row of every table, with the tables' names.
pub(crate) fn of_postgres(server: &TestDatabase) -> String {
    let dump = server.psql("SELECT schema_to_xml('public', true, true, '')");
    dump.unwrap()
}

/// Turns each story, an `async fn(&impl Port, impl Fn(&str), impl Fn() -> String)` that also runs SQL
/// and sees the whole database, into one test on SQLite and one on PostgreSQL.
macro_rules! on_each_whole_database {
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
                let dump = || $crate::whole_database::of_sqlite(&sqlite);
                super::$story(&sqlite.database, sql, dump).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                let postgres = $crate::databases::Postgres::fresh().await;
                let sql = |sql: &str| drop(postgres.server.psql(sql).unwrap());
                let dump = || $crate::whole_database::of_postgres(&postgres.server);
                super::$story(&postgres.database, sql, dump).await;
            })*
        }
    };
}
pub(crate) use on_each_whole_database;
