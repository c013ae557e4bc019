//! Moves read pointers: a batch of them in one transaction.

use chat_domain::ports::{MarkedRead, OutboxKinds};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::{StoreError, transaction};
use crate::group_commit::Mark;
use crate::sqlite::room_repository::read_state;
use crate::sqlite::schema::read_pointers;
use crate::sqlite::{outbox, rows};

/// Notes that a member's pointer has moved.
const NOTE: &str = "INSERT INTO member_changes (room_id, user_id, is_membership) \
     SELECT room_id, user_id, 0 FROM members WHERE room_id = ? AND user_id = ?";

/// Whether a pointer moved, and afterwards the room's newest position, if it has one, and the
/// pointer.
type Moved = (bool, Option<(i64, Option<i64>)>);

/// Moves the pointers in one transaction, which writes nothing if none of them moves.
pub(super) fn mark(
    connection: &mut SqliteConnection,
    marks: &[Mark],
    kinds: OutboxKinds,
) -> Result<Vec<Option<MarkedRead>>, StoreError> {
    let marked = transaction(connection, |connection| {
        let marked = marks
            .iter()
            .map(|mark| move_pointer(connection, mark, kinds));
        marked.collect::<QueryResult<Vec<_>>>()
    });
    let marked = marked?.into_iter().map(|marked| {
        let Some((moved, state)) = marked else {
            return Ok(None);
        };
        let state = rows::read_state(state).map_err(StoreError::Whole)?;
        Ok(Some(MarkedRead { state, moved }))
    });
    marked.collect()
}

/// Moves a pointer forward, at most to the room's newest position, and returns whether it
/// moved and the state afterwards; nothing if the room is of another generation. The transaction holds the write lock, so nothing
/// changes between the read and the write.
fn move_pointer(
    connection: &mut SqliteConnection,
    mark: &Mark,
    kinds: OutboxKinds,
) -> QueryResult<Option<Moved>> {
    let Some((newest, read, _, _, generation)) =
        read_state(connection, mark.room_id, &mark.user_id)?
    else {
        return Ok(Some((false, None)));
    };
    if rows::generation(generation) != mark.generation {
        return Ok(None);
    }
    let target = rows::number(mark.position.get()).min(newest);
    if target <= read.unwrap_or_default() {
        return Ok(Some((false, Some((newest, read)))));
    }
    diesel::insert_into(read_pointers::table)
        .values((
            read_pointers::room_id.eq(rows::number(mark.room_id.get())),
            read_pointers::user_id.eq(mark.user_id.as_str()),
            read_pointers::seq.eq(target),
        ))
        .on_conflict((read_pointers::room_id, read_pointers::user_id))
        .do_update()
        .set(read_pointers::seq.eq(target))
        .execute(connection)?;
    diesel::sql_query(NOTE)
        .bind::<BigInt, _>(rows::number(mark.room_id.get()))
        .bind::<Text, _>(mark.user_id.as_str())
        .execute(connection)?;
    outbox::record::read(connection, kinds, mark, target)?;
    Ok(Some((true, Some((newest, Some(target))))))
}
