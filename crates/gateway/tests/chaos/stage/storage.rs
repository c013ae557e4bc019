//! The database's own view: what is stored at the end.

use tokio::task::block_in_place;

use crate::record::{Message, Pointer};
use crate::support::Database;

/// Contents in the form of `record::compact`.
const COMPACT: &str = "rtrim(content, '🦀') || '+' || \
                       (length(content) - length(rtrim(content, '🦀')))";

/// Returns each room's counter.
pub(super) fn counters(database: &Database) -> Vec<(u64, u64)> {
    select(
        database,
        "SELECT id, last_seq FROM rooms ORDER BY id",
        |[room, newest]| (number(room), number(newest)),
    )
}

/// Returns the read pointers.
pub(super) fn pointers(database: &Database) -> Vec<Pointer> {
    let sql = "SELECT room_id, user_id, seq FROM read_pointers";
    select(database, sql, |[room, user, seq]| Pointer {
        room: number(room),
        user: user.to_owned(),
        seq: number(seq),
    })
}

/// Returns the messages with their authors' names.
pub(super) fn rows(database: &Database) -> Vec<Message> {
    let created_at = match database {
        Database::Sqlite(_) => "created_at",
        Database::Postgres(_) => {
            "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        }
    };
    let sql = format!(
        "SELECT messages.id, room_id, seq, user_id, name, client_message_id, {COMPACT}, \
         {created_at} FROM messages LEFT JOIN users ON users.id = user_id ORDER BY room_id, seq"
    );
    select(
        database,
        &sql,
        |[
            id,
            room,
            seq,
            user,
            name,
            client_message_id,
            content,
            created_at,
        ]| Message {
            id: number(id),
            room: number(room),
            seq: number(seq),
            user: user.to_owned(),
            name: name.to_owned(),
            client_message_id: (!client_message_id.is_empty())
                .then(|| client_message_id.to_owned()),
            content: content.to_owned(),
            created_at: created_at.to_owned(),
        },
    )
}

pub(super) fn select<const N: usize, T>(
    database: &Database,
    sql: &str,
    mut row: impl FnMut([&str; N]) -> T,
) -> Vec<T> {
    let rows = block_in_place(|| database.sql(sql));
    rows.lines()
        .map(|line| {
            let columns: Vec<&str> = line.split('|').collect();
            let columns = columns.try_into();
            row(columns.unwrap_or_else(|_| panic!("an unexpected row: {line}")))
        })
        .collect()
}

pub(super) fn number(text: &str) -> u64 {
    text.parse().unwrap()
}
