//! Deletes the reactions of a closed room. One message may have more of them than a batch deletes.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::{ClosedRow, count};

const LAST: &str = "SELECT seq, key, user_id FROM (SELECT seq, key, user_id FROM reactions \
     WHERE room_id = ? AND (seq, key, user_id) > (?, ?, ?) ORDER BY seq, key, user_id LIMIT ?) \
     ORDER BY seq DESC, key DESC, user_id DESC LIMIT 1";

const DELETE: &str = "DELETE FROM reactions WHERE room_id = ? \
     AND (seq, key, user_id) > (?, ?, ?) AND (seq, key, user_id) <= (?, ?, ?)";

#[derive(QueryableByName)]
struct LastRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Text)]
    user_id: String,
}

pub(super) fn delete(
    connection: &mut SqliteConnection,
    closed: &mut ClosedRow,
    size: i64,
) -> QueryResult<i64> {
    let last = diesel::sql_query(LAST)
        .bind::<BigInt, _>(closed.room_id)
        .bind::<BigInt, _>(closed.seq)
        .bind::<Text, _>(&closed.key)
        .bind::<Text, _>(&closed.user_id)
        .bind::<BigInt, _>(size)
        .get_result::<LastRow>(connection)
        .optional()?;
    let Some(last) = last else {
        closed.step += 1;
        return Ok(0);
    };
    let deleted = diesel::sql_query(DELETE)
        .bind::<BigInt, _>(closed.room_id)
        .bind::<BigInt, _>(closed.seq)
        .bind::<Text, _>(&closed.key)
        .bind::<Text, _>(&closed.user_id)
        .bind::<BigInt, _>(last.seq)
        .bind::<Text, _>(&last.key)
        .bind::<Text, _>(&last.user_id)
        .execute(connection)?;
    closed.seq = last.seq;
    closed.key = last.key;
    closed.user_id = last.user_id;
    if count(deleted) < size {
        closed.step += 1;
    }
    Ok(count(deleted))
}
