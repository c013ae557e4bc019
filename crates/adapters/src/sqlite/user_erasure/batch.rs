//! Erases a part of a user, as the function `erase_user_batch` does on PostgreSQL.

use chat_domain::ports::{MessageChange, OutboxKinds};
use chat_domain::{MessageEdit, ReactionKey, RoomId, RulesNumber, Seq, UserId};
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::sqlite::change_repository::make_change;
use crate::stored_changes::{CHANGED, DELETED_USER};
use crate::stored_extras;
use crate::stored_users::BatchColumns;

/// What was decided before the request has ended two seconds after it. After thirty seconds, every
/// node has closed the user's connections, and has stored when it was last seen.
const NEXT_DUE: &str = "SELECT user_id, messages, step, room_id, seq FROM user_erasures \
     WHERE requested_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-2 seconds') \
     AND (step < 5 OR requested_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-30 seconds')) \
     ORDER BY requested_at, user_id LIMIT 1";

const HAS_STANDING: &str = "SELECT EXISTS (SELECT 1 FROM members WHERE user_id = ?1) \
     OR EXISTS (SELECT 1 FROM bans WHERE user_id = ?1) \
     OR EXISTS (SELECT 1 FROM mutes WHERE user_id = ?1) \
     OR EXISTS (SELECT 1 FROM slow_mode_turns WHERE user_id = ?1) AS value";

const NEXT_REACTIONS: &str = "SELECT seq, key FROM reactions \
     WHERE user_id = ? AND room_id = ? ORDER BY seq, key LIMIT ?";

const FIRST_REACTION: &str = "SELECT room_id AS value FROM reactions \
     WHERE user_id = ? ORDER BY room_id, seq LIMIT 1";

const DELETE_REACTION: &str =
    "DELETE FROM reactions WHERE room_id = ? AND seq = ? AND key = ? AND user_id = ?";

const ANONYMIZE_CHANGES: &str = "UPDATE message_changes SET changed_by = 'deleted' \
     WHERE (room_id, seq) IN (SELECT room_id, seq FROM message_changes \
     WHERE changed_by = ? ORDER BY room_id, seq LIMIT ?)";

const FIRST_MENTION: &str = "SELECT room_id AS value FROM mentions \
     WHERE user_id = ? ORDER BY room_id, seq LIMIT 1";

const NEXT_MENTIONS: &str = "SELECT seq, (SELECT extras FROM messages \
     WHERE messages.room_id = mentions.room_id AND messages.seq = mentions.seq) AS extras \
     FROM mentions WHERE user_id = ? AND room_id = ? ORDER BY seq LIMIT ?";

const STORE_EXTRAS: &str = "UPDATE messages SET extras = ?3 WHERE room_id = ?1 AND seq = ?2";

const DELETE_MENTION: &str = "DELETE FROM mentions WHERE room_id = ? AND seq = ? AND user_id = ?";

/// An author has a read pointer in each room, at or after the last message it wrote there.
const NEXT_POINTER: &str = "SELECT room_id, seq FROM read_pointers \
     WHERE user_id = ? AND room_id >= ? ORDER BY room_id LIMIT 1";

const NEXT_MESSAGES: &str = "SELECT seq AS value FROM messages \
     WHERE room_id = ? AND seq > ? AND seq <= ? AND user_id = ? ORDER BY seq LIMIT ?";

const ANONYMIZE: &str = "UPDATE messages SET user_id = ?3, client_message_id = NULL \
     WHERE room_id = ?1 AND seq = ?2";

const STORE_DELETED_USER: &str =
    "INSERT INTO users (id, name) VALUES (?1, ?1) ON CONFLICT (id) DO NOTHING";

const DELETE_POINTER: &str =
    "DELETE FROM read_pointers WHERE room_id = ? AND user_id = ? AND seq <= ?";

const ROOM: &str = "SELECT rules, generation, last_rev FROM rooms WHERE id = ?";

const NOTE_PROGRESS: &str =
    "UPDATE user_erasures SET step = ?2, room_id = ?3, seq = ?4 WHERE user_id = ?1";

/// How many positions are looked at for each row that may be erased.
const LOOKED_AT: i64 = 10;

/// A user being erased, and the progress of the erasure.
#[derive(QueryableByName)]
pub(super) struct ErasureRow {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Text)]
    messages: String,
    #[diesel(sql_type = BigInt)]
    step: i64,
    #[diesel(sql_type = BigInt)]
    room_id: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct ReactionRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    key: String,
}

#[derive(QueryableByName)]
struct MentionRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Nullable<Text>)]
    extras: Option<String>,
}

#[derive(QueryableByName)]
struct PointerRow {
    #[diesel(sql_type = BigInt)]
    room_id: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

#[derive(Default, QueryableByName)]
struct RoomRow {
    #[diesel(sql_type = BigInt)]
    rules: i64,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(sql_type = BigInt)]
    last_rev: i64,
}

impl RoomRow {
    fn is_closed(&self) -> bool {
        self.generation > self.rules
    }
}

pub(super) fn next_due(connection: &mut SqliteConnection) -> QueryResult<Option<ErasureRow>> {
    diesel::sql_query(NEXT_DUE)
        .get_result(connection)
        .optional()
}

/// Erases at most `size` rows of the user whose erasure is due, and records events of these `kinds`.
/// The transaction holds the write lock.
pub(super) fn erase(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    size: i64,
) -> QueryResult<Option<BatchColumns>> {
    let Some(mut state) = next_due(connection)? else {
        return Ok(None);
    };
    let mut batch = BatchColumns {
        user_id: state.user_id.clone(),
        stage: "content".to_owned(),
        erased: 0,
        changed: None,
    };
    if state.step == 0 {
        let standing = diesel::sql_query(HAS_STANDING)
            .bind::<Text, _>(&state.user_id)
            .get_result::<NumberRow>(connection)?;
        if standing.value != 0 {
            batch.stage = "standing".to_owned();
            return Ok(Some(batch));
        }
        state.step = 1;
    }
    match state.step {
        1 => clear_reactions(connection, kinds, &mut state, &mut batch, size)?,
        2 => {
            let changed = diesel::sql_query(ANONYMIZE_CHANGES)
                .bind::<Text, _>(&state.user_id)
                .bind::<BigInt, _>(size)
                .execute(connection)?;
            batch.erased = count(changed);
            if batch.erased < size {
                state.step = 3;
            }
        }
        3 => erase_mentions(connection, &mut state, &mut batch, size)?,
        4 => erase_messages(connection, kinds, &mut state, &mut batch, size)?,
        _ => batch.stage = "over".to_owned(),
    }
    diesel::sql_query(NOTE_PROGRESS)
        .bind::<Text, _>(&state.user_id)
        .bind::<BigInt, _>(state.step)
        .bind::<BigInt, _>(state.room_id)
        .bind::<BigInt, _>(state.seq)
        .execute(connection)?;
    Ok(Some(batch))
}

fn clear_reactions(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    state: &mut ErasureRow,
    batch: &mut BatchColumns,
    size: i64,
) -> QueryResult<()> {
    let first = diesel::sql_query(FIRST_REACTION).bind::<Text, _>(&state.user_id);
    let Some(first) = first.get_result::<NumberRow>(connection).optional()? else {
        state.step = 2;
        return Ok(());
    };
    let found = diesel::sql_query(NEXT_REACTIONS)
        .bind::<Text, _>(&state.user_id)
        .bind::<BigInt, _>(first.value)
        .bind::<BigInt, _>(size)
        .load::<ReactionRow>(connection)?;
    let room = room(connection, first.value)?;
    let mut has_changed = false;
    for ReactionRow { seq, key } in found {
        let mut is_cleared = false;
        // A room that is being deleted gets no new rows.
        if !room.is_closed() {
            let edit = MessageEdit::React {
                user_id: UserId::new(state.user_id.as_str()).map_err(invalid)?,
                key: ReactionKey::new(key.as_str()).map_err(invalid)?,
                on: false,
            };
            is_cleared = change(connection, kinds, (first.value, seq), &room, edit)?;
        }
        has_changed |= is_cleared;
        if !is_cleared {
            diesel::sql_query(DELETE_REACTION)
                .bind::<BigInt, _>(first.value)
                .bind::<BigInt, _>(seq)
                .bind::<Text, _>(&key)
                .bind::<Text, _>(&state.user_id)
                .execute(connection)?;
        }
        batch.erased += 1;
    }
    if has_changed {
        note_change(connection, batch, first.value)?;
    }
    Ok(())
}

fn erase_mentions(
    connection: &mut SqliteConnection,
    state: &mut ErasureRow,
    batch: &mut BatchColumns,
    size: i64,
) -> QueryResult<()> {
    let first = diesel::sql_query(FIRST_MENTION).bind::<Text, _>(&state.user_id);
    let Some(first) = first.get_result::<NumberRow>(connection).optional()? else {
        state.step = 4;
        return Ok(());
    };
    let found = diesel::sql_query(NEXT_MENTIONS)
        .bind::<Text, _>(&state.user_id)
        .bind::<BigInt, _>(first.value)
        .bind::<BigInt, _>(size)
        .load::<MentionRow>(connection)?;
    batch.erased = count(found.len());
    for MentionRow { seq, extras } in found {
        let remaining = extras.map(|json| stored_extras::without_mention(&json, &state.user_id));
        // Extras that another program has spoiled stay.
        if let Some(Ok(remaining)) = remaining {
            diesel::sql_query(STORE_EXTRAS)
                .bind::<BigInt, _>(first.value)
                .bind::<BigInt, _>(seq)
                .bind::<Nullable<Text>, _>(remaining)
                .execute(connection)?;
        }
        // The trigger has deleted that of the message.
        diesel::sql_query(DELETE_MENTION)
            .bind::<BigInt, _>(first.value)
            .bind::<BigInt, _>(seq)
            .bind::<Text, _>(&state.user_id)
            .execute(connection)?;
    }
    Ok(())
}

fn erase_messages(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    state: &mut ErasureRow,
    batch: &mut BatchColumns,
    size: i64,
) -> QueryResult<()> {
    let next = diesel::sql_query(NEXT_POINTER)
        .bind::<Text, _>(&state.user_id)
        .bind::<BigInt, _>(state.room_id);
    let Some(pointer) = next.get_result::<PointerRow>(connection).optional()? else {
        state.step = 5;
        return Ok(());
    };
    if pointer.room_id != state.room_id {
        state.room_id = pointer.room_id;
        state.seq = 0;
    }
    let room = room(connection, state.room_id)?;
    if room.is_closed() {
        // Its messages are being deleted.
        state.seq = pointer.seq;
    } else {
        let end = state.seq + LOOKED_AT * size;
        let found = diesel::sql_query(NEXT_MESSAGES)
            .bind::<BigInt, _>(state.room_id)
            .bind::<BigInt, _>(state.seq)
            .bind::<BigInt, _>(end)
            .bind::<Text, _>(&state.user_id)
            .bind::<BigInt, _>(size)
            .load::<NumberRow>(connection)?;
        batch.erased = count(found.len());
        if state.messages == "erase" {
            for message in &found {
                change(
                    connection,
                    kinds,
                    (state.room_id, message.value),
                    &room,
                    MessageEdit::Erase,
                )?;
            }
            if !found.is_empty() {
                note_change(connection, batch, state.room_id)?;
            }
        } else if !found.is_empty() {
            diesel::sql_query(STORE_DELETED_USER)
                .bind::<Text, _>(DELETED_USER)
                .execute(connection)?;
            for message in &found {
                diesel::sql_query(ANONYMIZE)
                    .bind::<BigInt, _>(state.room_id)
                    .bind::<BigInt, _>(message.value)
                    .bind::<Text, _>(DELETED_USER)
                    .execute(connection)?;
            }
        }
        state.seq = match found.last() {
            Some(last) if batch.erased == size => last.value,
            _ => end,
        };
    }
    if state.seq >= pointer.seq {
        diesel::sql_query(DELETE_POINTER)
            .bind::<BigInt, _>(state.room_id)
            .bind::<Text, _>(&state.user_id)
            .bind::<BigInt, _>(state.seq)
            .execute(connection)?;
        state.room_id += 1;
        state.seq = 0;
    }
    Ok(())
}

/// Changes a message for the product. Returns whether that changed anything.
fn change(
    connection: &mut SqliteConnection,
    kinds: OutboxKinds,
    (room, seq): (i64, i64),
    state: &RoomRow,
    edit: MessageEdit,
) -> QueryResult<bool> {
    let change = MessageChange {
        room_id: RoomId::new(room.unsigned_abs()).map_err(invalid)?,
        seq: Seq::new(seq.unsigned_abs()).map_err(invalid)?,
        edit,
        by: None,
        rules: RulesNumber::new(state.rules.unsigned_abs()),
    };
    Ok(make_change(connection, kinds, room, &change)? == CHANGED)
}

fn note_change(
    connection: &mut SqliteConnection,
    batch: &mut BatchColumns,
    id: i64,
) -> QueryResult<()> {
    let room = room(connection, id)?;
    batch.changed = Some((id, room.generation, room.last_rev));
    Ok(())
}

fn room(connection: &mut SqliteConnection, id: i64) -> QueryResult<RoomRow> {
    let room = diesel::sql_query(ROOM).bind::<BigInt, _>(id);
    Ok(room.get_result(connection).optional()?.unwrap_or_default())
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::DeserializationError(Box::new(error))
}
