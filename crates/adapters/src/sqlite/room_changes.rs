//! Which rooms have new messages, by the ids of the messages, and which rooms' rules have
//! changed, by the numbers in the table `rules_changes`.
//!
//! SQLite has one writer at a time, and an id is assigned while it writes: what is committed
//! later has larger ids. An id is never assigned again, because both tables have AUTOINCREMENT,
//! which notes the largest one in `sqlite_sequence`.

use chat_domain::StorageError;
use chat_domain::ports::{Changes, LogCursor};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::rows;

/// A room that has moved, besides the largest id and number; only these without any.
#[derive(QueryableByName)]
struct ChangeRow {
    #[diesel(sql_type = BigInt)]
    largest_id: i64,
    #[diesel(sql_type = BigInt)]
    largest_number: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    room_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    seq: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    rules: Option<i64>,
}

/// One statement, so that all is read in one state of the database.
const CHANGES: &str = "WITH sequence AS (\
     SELECT coalesce(max(seq) FILTER (WHERE name = 'messages'), 0) AS largest_id, \
     coalesce(max(seq) FILTER (WHERE name = 'rules_changes'), 0) AS largest_number \
     FROM sqlite_sequence), \
     change AS (\
     SELECT room_id, seq, 0 AS rules FROM messages WHERE id > ? UNION ALL \
     SELECT rooms.id, last_seq, rules \
     FROM rules_changes CROSS JOIN rooms ON rooms.id = room_id WHERE number > ?) \
     SELECT largest_id, largest_number, room_id, max(seq) AS seq, max(rules) AS rules \
     FROM sequence LEFT JOIN change \
     GROUP BY room_id";

pub(super) fn since(
    connection: &mut SqliteConnection,
    cursor: Option<&LogCursor>,
) -> Result<Changes, StorageError> {
    let after = cursor.and_then(parse);
    let (after_id, after_number) = after.unwrap_or((i64::MAX, i64::MAX));
    let found = diesel::sql_query(CHANGES)
        .bind::<BigInt, _>(after_id)
        .bind::<BigInt, _>(after_number)
        .load::<ChangeRow>(connection)
        .map_err(StorageError::unavailable)?;
    let (largest_id, largest_number) = found
        .first()
        .map_or((0, 0), |row| (row.largest_id, row.largest_number));
    // A smaller one than before is another database, for example a restored one.
    let is_known = after.is_some_and(|(id, number)| id <= largest_id && number <= largest_number);
    let changes = found
        .into_iter()
        // A room that is not valid has no members.
        .filter_map(|row| rows::room_position((row.room_id?, row.seq?, row.rules?)).ok());
    Ok(Changes {
        rooms: is_known.then(|| changes.collect()),
        cursor: LogCursor::new(format!("{largest_id}:{largest_number}")),
    })
}

/// Returns the id and the number that a cursor consists of.
fn parse(cursor: &LogCursor) -> Option<(i64, i64)> {
    let (id, number) = cursor.as_str().split_once(':')?;
    Some((id.parse().ok()?, number.parse().ok()?))
}
