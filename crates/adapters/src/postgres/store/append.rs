//! Stores a batch of messages: one call of the function `append_messages`, in autocommit.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chat_domain::{ClientMessageId, MessageId, NewMessage, StorageError, Timestamp};
use futures_util::StreamExt as _;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::{CallError, Progress};
use super::session::{Session, in_time};
use crate::group_commit::{Placed, StoreError};
use crate::postgres::rows;
use crate::stored_extras;

/// The number of ids that a session takes at once: the increment of their sequence.
const ID_BLOCK: i64 = 1024;

/// What the function returns instead of a room's newest number if the number of the room's
/// rules differs. Any other negative number stands for a locked room.
const RULES_CHANGED: i64 = -2;

impl Session {
    /// Stores the messages of the rooms that are free. Returns the place of each message.
    pub(super) async fn append(
        &mut self,
        batch: &[Arc<NewMessage>],
    ) -> Result<Vec<Placed>, CallError> {
        let columns = Columns::new(batch, self.names.unknown(batch));
        let count = rows::number(batch.len() as u64);
        let has_ids = self.ids.end - self.ids.start >= count;
        let row = self
            .call(&columns, if has_ids { self.ids.start } else { 0 })
            .await?;
        let first_id: i64 = row.get(0);
        let end = match has_ids {
            true => self.ids.end,
            false => first_id + ID_BLOCK,
        };
        self.ids = first_id + count..end;
        // The array is empty if the batch is.
        let bases: Vec<i64> = row.get::<_, Option<_>>(1).unwrap_or_default();
        // Otherwise some names are not stored.
        if !bases.contains(&RULES_CHANGED) {
            let stored = columns
                .names
                .iter()
                .map(|(user_id, name)| (*user_id, *name));
            self.names.stored(stored);
        }
        let places = columns.places.iter().zip(first_id..).map(|(place, id)| {
            Ok(match bases.get(place.room) {
                Some(&RULES_CHANGED) => Placed::RulesChanged,
                Some(base @ 0..) => {
                    Placed::Stored(MessageId::new(id), rows::position(base + place.nth)?)
                }
                _ => Placed::Locked,
            })
        });
        let places: Result<_, StorageError> = places.collect();
        places.map_err(|error| CallError::Refused(StoreError::Whole(error)))
    }

    async fn call(&mut self, columns: &Columns<'_>, first_id: i64) -> Result<Row, CallError> {
        let (user_ids, names): (Vec<&str>, Vec<&str>) = columns.names.iter().unzip();
        let index = |room: usize| i32::try_from(room + 1).unwrap_or(i32::MAX);
        let message_rooms: Vec<i32> = columns.places.iter().map(|p| index(p.room)).collect();
        let message_places: Vec<i64> = columns.places.iter().map(|p| p.nth).collect();
        let pointers = || columns.pointers.iter();
        let pointer_rooms: Vec<i32> = pointers().map(|((room, _), _)| index(*room)).collect();
        let pointer_users: Vec<&str> = pointers().map(|((_, user_id), _)| *user_id).collect();
        let pointer_places: Vec<i64> = columns.pointers.values().copied().collect();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![
            &first_id,
            &columns.room_ids,
            &columns.counts,
            &columns.rules,
            &message_rooms,
            &message_places,
            &columns.authors,
            &columns.contents,
            &columns.client_message_ids,
            &columns.times,
            &pointer_rooms,
            &pointer_users,
            &pointer_places,
            &user_ids,
            &names,
        ];
        let statement = match &columns.extras {
            Some(extras) => {
                let mentions: [&(dyn ToSql + Sync); 2] =
                    [&extras.mention_messages, &extras.mention_users];
                parameters.push(&extras.of_messages);
                parameters.extend(mentions);
                &self.append_with_extras
            }
            None => &self.append,
        };
        let calling = async {
            let called = |error| (error, Progress::Called);
            let answer = self.client.query_raw(statement, parameters).await;
            let mut answer = pin!(answer.map_err(called)?);
            let row = answer.next().await.transpose().map_err(called)?;
            // The answer ends after the commit.
            while let Some(rest) = answer.next().await {
                rest.map_err(|error| (error, Progress::Committing))?;
            }
            Ok(row)
        };
        match in_time(calling).await {
            Ok(Ok(Some(row))) => Ok(row),
            Ok(Ok(None)) => Err(CallError::Refused(StoreError::row("no result"))),
            Ok(Err((error, Progress::Called)))
                if error.is_closed() && self.ended_while_unused().await =>
            {
                Err(CallError::Session(error.into()))
            }
            Ok(Err((error, progress))) => Err(CallError::new(error, progress)),
            Err(elapsed) => {
                let unknown = StorageError::outcome_unknown(elapsed);
                Err(CallError::Broken(StoreError::Whole(unknown)))
            }
        }
    }
}

/// Where a message belongs: the index of its room, and its place among the batch's messages
/// in that room, counted from 1.
struct Place {
    room: usize,
    nth: i64,
}

/// A batch, column by column.
struct Columns<'a> {
    /// In ascending order, with the number of messages in each, and the number of the rules
    /// by which they were decided.
    room_ids: Vec<i64>,
    counts: Vec<i64>,
    rules: Vec<i64>,
    places: Vec<Place>,
    authors: Vec<&'a str>,
    contents: Vec<&'a str>,
    client_message_ids: Vec<Option<&'a str>>,
    times: Vec<SystemTime>,
    /// The place of each author's last message in each room.
    pointers: BTreeMap<(usize, &'a str), i64>,
    names: BTreeMap<&'a str, &'a str>,
    /// Absent if the messages carry nothing besides their text.
    extras: Option<ExtrasColumns<'a>>,
}

/// What messages carry besides their text.
struct ExtrasColumns<'a> {
    of_messages: Vec<Option<String>>,
    /// The indexes of the messages that mention users, counted from 1, and the users.
    mention_messages: Vec<i32>,
    mention_users: Vec<&'a str>,
}

impl<'a> ExtrasColumns<'a> {
    fn new(batch: &'a [Arc<NewMessage>]) -> Self {
        let extras = || batch.iter().map(|m| m.extras.as_deref());
        let mentions = (1..).zip(extras()).flat_map(|(nth, extras)| {
            let users = extras.into_iter().flat_map(|extras| &extras.mentions);
            users.map(move |user_id| (nth, user_id.as_str()))
        });
        let (mention_messages, mention_users) = mentions.unzip();
        Self {
            of_messages: extras().map(|e| e.map(stored_extras::encode)).collect(),
            mention_messages,
            mention_users,
        }
    }
}

impl<'a> Columns<'a> {
    fn new(batch: &'a [Arc<NewMessage>], names: BTreeMap<&'a str, &'a str>) -> Self {
        let mut room_ids: Vec<_> = batch
            .iter()
            .map(|m| rows::number(m.room_id.get()))
            .collect();
        room_ids.sort_unstable();
        room_ids.dedup();
        let mut counts = vec![0; room_ids.len()];
        let mut rules = vec![0; room_ids.len()];
        let mut pointers = BTreeMap::new();
        let places = batch.iter().map(|message| {
            let room_id = rows::number(message.room_id.get());
            // It is found: the ids are those of the batch.
            let (Ok(room) | Err(room)) = room_ids.binary_search(&room_id);
            counts[room] += 1;
            rules[room] = rows::number(message.rules.get());
            pointers.insert((room, message.author.id.as_str()), counts[room]);
            Place {
                room,
                nth: counts[room],
            }
        });
        let places = places.collect();
        let ids = batch.iter().map(|m| m.client_message_id.as_ref());
        let has_extras = batch.is_empty() || batch.iter().any(|m| m.extras.is_some());
        Self {
            extras: has_extras.then(|| ExtrasColumns::new(batch)),
            places,
            authors: batch.iter().map(|m| m.author.id.as_str()).collect(),
            contents: batch.iter().map(|m| m.content.as_str()).collect(),
            client_message_ids: ids.map(|id| id.map(ClientMessageId::as_str)).collect(),
            times: batch.iter().map(|m| time(m.created_at)).collect(),
            pointers,
            names,
            room_ids,
            counts,
            rules,
        }
    }
}

fn time(at: Timestamp) -> SystemTime {
    let millis = Duration::from_millis(at.unix_millis().unsigned_abs());
    match at.unix_millis() < 0 {
        true => SystemTime::UNIX_EPOCH - millis,
        false => SystemTime::UNIX_EPOCH + millis,
    }
}
