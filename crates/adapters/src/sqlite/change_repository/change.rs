//! Makes changes to messages, as the function `change_message` does on PostgreSQL: a batch is one
//! transaction.

use std::sync::{Arc, OnceLock};

use chat_domain::ports::{MessageChange, OutboxKinds};
use chat_domain::{MessageEdit, ReactionKey, UserId};
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::message;
use crate::group_commit::{ChangeOutcome, ChangeStore, StoreError};
use crate::sqlite::message_columns::MessageColumns;
use crate::sqlite::room_directory::moment;
use crate::sqlite::store::transaction;
use crate::sqlite::writer::Writer;
use crate::sqlite::{outbox, rows};
use crate::stored_changes::{
    self, CHANGED, DELETED_USER, MESSAGE_DELETED, NOT_FOUND, RULES_CHANGED, TOO_MANY_REACTIONS,
    UNCHANGED,
};

/// Passes batches of changes to the writer.
#[derive(Clone)]
pub(in crate::sqlite) struct SqliteChanges {
    pub(in crate::sqlite) writer: Writer,
    /// What is recorded for the outbox, once it is set.
    pub(in crate::sqlite) recorded: Arc<OnceLock<OutboxKinds>>,
}

impl ChangeStore for SqliteChanges {
    async fn change(&self, batch: &[Arc<MessageChange>]) -> Result<Vec<ChangeOutcome>, StoreError> {
        let batch = batch.to_vec();
        let kinds = self.recorded.get().copied().unwrap_or_default();
        let made = self.writer.write_batch(move |connection| {
            transaction(connection, |connection| {
                let made = batch.iter().map(|one| {
                    let room = rows::number(one.room_id.get());
                    let (outcome, message) = change(connection, kinds, room, one)?;
                    let message = message.map(|message| message.message(room));
                    Ok(stored_changes::made(outcome, message))
                });
                made.collect()
            })
        });
        made.await
    }
}

const RULES: &str = "SELECT rules AS value FROM rooms WHERE id = ?";

const STATE: &str = "SELECT content, edited_at, deleted_at, erased_at, reactions \
     FROM messages LEFT JOIN message_changes AS change \
     ON change.room_id = messages.room_id AND change.seq = messages.seq \
     WHERE messages.room_id = ? AND messages.seq = ?";

const NEXT_REV: &str =
    "UPDATE rooms SET last_rev = last_rev + 1 WHERE id = ? RETURNING last_rev AS value";

const EDIT: &str = "UPDATE messages SET content = ?3 WHERE room_id = ?1 AND seq = ?2";

/// To which message it replies is not removed.
const DELETE: &str = "UPDATE messages SET content = '', extras = CASE WHEN json_valid(extras) \
     THEN '{\"replyTo\":' || json_extract(extras, '$.replyTo') || '}' END \
     WHERE room_id = ?1 AND seq = ?2";

const ERASE: &str = "UPDATE messages SET user_id = ?3, content = '', extras = NULL, \
     client_message_id = NULL WHERE room_id = ?1 AND seq = ?2";

/// `messages` refers to its authors. A user of this id keeps its name.
const STORE_DELETED_USER: &str =
    "INSERT INTO users (id, name) VALUES (?1, ?1) ON CONFLICT (id) DO NOTHING";

const DELETE_REACTIONS: &str = "DELETE FROM reactions WHERE room_id = ? AND seq = ?";

const SET_REACTION: &str = "INSERT INTO reactions (room_id, seq, key, user_id, created_at) \
     VALUES (?1, ?2, ?3, ?4, ?5)";

const CLEAR_REACTION: &str =
    "DELETE FROM reactions WHERE room_id = ?1 AND seq = ?2 AND key = ?3 AND user_id = ?4";

const HAS_REACTED: &str = "SELECT count(*) AS value FROM reactions \
     WHERE room_id = ? AND seq = ? AND key = ? AND user_id = ?";

const NOTE_CHANGE: &str = "INSERT INTO message_changes (room_id, seq, rev, previous, kind, \
     changed_by, edited_at, deleted_at, erased_at, reactions) \
     VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?) \
     ON CONFLICT (room_id, seq) DO UPDATE SET rev = excluded.rev, previous = rev, \
     kind = excluded.kind, changed_by = excluded.changed_by, edited_at = excluded.edited_at, \
     deleted_at = excluded.deleted_at, erased_at = excluded.erased_at, \
     reactions = excluded.reactions";

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

/// A message's text, and what has become of it.
#[derive(Default, QueryableByName)]
struct StateRow {
    #[diesel(sql_type = Text)]
    content: String,
    #[diesel(sql_type = Nullable<Text>)]
    edited_at: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    deleted_at: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    erased_at: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    reactions: Option<String>,
}

/// The place of a message.
#[derive(Clone, Copy)]
struct Place {
    room: i64,
    seq: i64,
}

/// Makes the change, if the room has the rules by which it was decided. Returns the outcome and,
/// unless the change was refused, the message in its newest state. The transaction holds the write
/// lock.
fn change(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    room: i64,
    change: &MessageChange,
) -> QueryResult<(&'static str, Option<MessageColumns>)> {
    let outcome = make_change(connection, kinds, room, change)?;
    let message = match outcome {
        CHANGED | UNCHANGED => message(connection, room, rows::number(change.seq.get()))?,
        _ => None,
    };
    Ok((outcome, message))
}

/// Makes a change without reading the message afterwards. Returns the outcome. The transaction holds
/// the write lock.
pub(in crate::sqlite) fn make_change(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    room: i64,
    change: &MessageChange,
) -> QueryResult<&'static str> {
    let place = Place {
        room,
        seq: rows::number(change.seq.get()),
    };
    let outcome = make(connection, place, change)?;
    if outcome == CHANGED {
        outbox::record::message_change(connection, kinds, room)?;
    }
    Ok(outcome)
}

fn make(
    connection: &mut SqliteConnection,
    place: Place,
    change: &MessageChange,
) -> QueryResult<&'static str> {
    let rules = diesel::sql_query(RULES).bind::<BigInt, _>(place.room);
    let rules = rules.get_result::<NumberRow>(connection).optional()?;
    if rules.map_or(0, |row| row.value) != rows::number(change.rules.get()) {
        return Ok(RULES_CHANGED);
    }
    let state = diesel::sql_query(STATE)
        .bind::<BigInt, _>(place.room)
        .bind::<BigInt, _>(place.seq);
    let Some(mut state) = state.get_result::<StateRow>(connection).optional()? else {
        return Ok(NOT_FOUND);
    };
    let is_deleted = state.deleted_at.is_some() || state.erased_at.is_some();
    let moment = moment(connection)?;
    match &change.edit {
        MessageEdit::Edit(_) | MessageEdit::React { .. } if is_deleted => {
            return Ok(MESSAGE_DELETED);
        }
        MessageEdit::Edit(content) => {
            if content.as_str() == state.content {
                return Ok(UNCHANGED);
            }
            diesel::sql_query(EDIT)
                .bind::<BigInt, _>(place.room)
                .bind::<BigInt, _>(place.seq)
                .bind::<Text, _>(content.as_str())
                .execute(connection)?;
            state.edited_at = Some(moment);
        }
        MessageEdit::React { user_id, key, on } => {
            let mut counts = counts(state.reactions.as_deref())?;
            let at = counts.iter().position(|(known, _)| known == key.as_str());
            if has_reacted(connection, place, key, user_id)? == *on {
                return Ok(UNCHANGED);
            }
            match at {
                Some(at) => counts[at].1 += if *on { 1 } else { -1 },
                None if *on && counts.len() >= ReactionKey::MAX_PER_MESSAGE => {
                    return Ok(TOO_MANY_REACTIONS);
                }
                None if *on => counts.push((key.as_str().to_owned(), 1)),
                None => {}
            }
            let statement = match on {
                true => SET_REACTION,
                false => CLEAR_REACTION,
            };
            react(connection, statement, place, key, user_id, &moment)?;
            counts.retain(|(_, count)| *count > 0);
            state.reactions = match counts[..] {
                [] => None,
                _ => Some(serde_json::to_string(&counts).map_err(invalid)?),
            };
        }
        MessageEdit::Delete => {
            if is_deleted {
                return Ok(UNCHANGED);
            }
            at_message(connection, DELETE, place)?;
            state.deleted_at = Some(moment);
        }
        MessageEdit::Erase => {
            if state.erased_at.is_some() {
                return Ok(UNCHANGED);
            }
            diesel::sql_query(STORE_DELETED_USER)
                .bind::<Text, _>(DELETED_USER)
                .execute(connection)?;
            diesel::sql_query(ERASE)
                .bind::<BigInt, _>(place.room)
                .bind::<BigInt, _>(place.seq)
                .bind::<Text, _>(DELETED_USER)
                .execute(connection)?;
            state = StateRow {
                erased_at: Some(moment),
                ..StateRow::default()
            };
        }
    }
    if state.deleted_at.is_some() || state.erased_at.is_some() {
        at_message(connection, DELETE_REACTIONS, place)?;
        state.reactions = None;
    }
    note(connection, place, change, &state)?;
    Ok(CHANGED)
}

/// Gives the message the room's next number.
fn note(
    connection: &mut SqliteConnection,
    place: Place,
    change: &MessageChange,
    state: &StateRow,
) -> QueryResult<()> {
    let rev = diesel::sql_query(NEXT_REV)
        .bind::<BigInt, _>(place.room)
        .get_result::<NumberRow>(connection)?
        .value;
    diesel::sql_query(NOTE_CHANGE)
        .bind::<BigInt, _>(place.room)
        .bind::<BigInt, _>(place.seq)
        .bind::<BigInt, _>(rev)
        .bind::<Text, _>(stored_changes::kind(&change.edit).as_str())
        .bind::<Nullable<Text>, _>(change.by.as_ref().map(UserId::as_str))
        .bind::<Nullable<Text>, _>(&state.edited_at)
        .bind::<Nullable<Text>, _>(&state.deleted_at)
        .bind::<Nullable<Text>, _>(&state.erased_at)
        .bind::<Nullable<Text>, _>(&state.reactions)
        .execute(connection)?;
    Ok(())
}

/// Carries out a statement whose parameters are the room and the position.
fn at_message(
    connection: &mut SqliteConnection,
    statement: &'static str,
    place: Place,
) -> QueryResult<usize> {
    diesel::sql_query(statement)
        .bind::<BigInt, _>(place.room)
        .bind::<BigInt, _>(place.seq)
        .execute(connection)
}

/// Sets or clears a reaction.
fn react(
    connection: &mut SqliteConnection,
    statement: &'static str,
    place: Place,
    key: &ReactionKey,
    user_id: &UserId,
    moment: &str,
) -> QueryResult<usize> {
    let query = diesel::sql_query(statement)
        .bind::<BigInt, _>(place.room)
        .bind::<BigInt, _>(place.seq)
        .bind::<Text, _>(key.as_str())
        .bind::<Text, _>(user_id.as_str());
    match statement {
        SET_REACTION => query.bind::<Text, _>(moment).execute(connection),
        _ => query.execute(connection),
    }
}

fn has_reacted(
    connection: &mut SqliteConnection,
    place: Place,
    key: &ReactionKey,
    user_id: &UserId,
) -> QueryResult<bool> {
    let found = diesel::sql_query(HAS_REACTED)
        .bind::<BigInt, _>(place.room)
        .bind::<BigInt, _>(place.seq)
        .bind::<Text, _>(key.as_str())
        .bind::<Text, _>(user_id.as_str())
        .get_result::<NumberRow>(connection)?;
    Ok(found.value > 0)
}

/// Returns the keys in the order in which they were first set, and how many users have set each.
fn counts(json: Option<&str>) -> QueryResult<Vec<(String, i64)>> {
    let counts = json.map(|json| serde_json::from_str(json).map_err(invalid));
    Ok(counts.transpose()?.unwrap_or_default())
}

fn invalid(error: serde_json::Error) -> Error {
    Error::DeserializationError(Box::new(error))
}
