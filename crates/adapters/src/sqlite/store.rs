//! Stores batches on SQLite: each is one transaction, carried out by the writer.
//!
//! Most of the time of a single append is the commit's write to the disk, so a batch is a
//! loop over single inserts, whose statements diesel keeps prepared.
//!
//! The one task that writes carries out the commits in this process, one after the other:
//! when a batch begins, the outcome of the previous one is final, even if it is unknown
//! to its callers.

mod bulk;
mod marks;

use std::sync::{Arc, OnceLock};

use chat_domain::ports::{MarkedRead, OutboxKinds};
use chat_domain::{ClientMessageId, Message, MessageId, NewMessage, RulesNumber, StorageError};
use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::upsert::excluded;

use super::message_repository::{StoredRow, with_author};
use super::schema::{mentions, messages, read_pointers, rooms, users};
use super::writer::Writer;
use super::{errors, outbox, rows};
use crate::group_commit::{Mark, Placed, Store, StoreError};
use crate::stored_extras;

/// Needs a file that can be written, and changes no page of it.
const WRITE_NOTHING: &str = "UPDATE rooms SET last_seq = last_seq WHERE false";

/// Passes batches to the writer.
pub(super) struct SqliteStore {
    writer: Writer,
    /// What is recorded for the outbox, once it is set.
    recorded: Arc<OnceLock<OutboxKinds>>,
    statements: Statements,
}

/// How a batch is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Statements {
    /// Some for each message.
    Single,
    /// Some for all of them, if they are of one room.
    Bulk,
}

impl SqliteStore {
    pub(super) fn new(writer: Writer, recorded: Arc<OnceLock<OutboxKinds>>) -> Self {
        Self {
            writer,
            recorded,
            statements: Statements::Single,
        }
    }

    /// Creates a store for batches of imports, of which nothing is recorded for the outbox.
    pub(super) fn for_imports(writer: Writer) -> Self {
        Self {
            writer,
            recorded: Arc::default(),
            statements: Statements::Bulk,
        }
    }
}

impl Store for SqliteStore {
    async fn store(&mut self, batch: &[Arc<NewMessage>]) -> Result<Vec<Placed>, StoreError> {
        let batch = batch.to_vec();
        let kinds = self.recorded.get().copied().unwrap_or_default();
        let is_bulk = self.statements == Statements::Bulk && bulk::is_suitable(&batch);
        let append = move |connection: &mut SqliteConnection| match is_bulk {
            true => transaction(connection, |connection| bulk::insert(connection, &batch)),
            false => append(connection, &batch, kinds),
        };
        self.writer.write_batch(append).await
    }

    async fn originals(&mut self, batch: &[Arc<NewMessage>]) -> Result<Vec<Message>, StorageError> {
        let batch = batch.to_vec();
        let found = self.writer.write(move |connection| {
            let mut found = Vec::new();
            for message in &batch {
                let original = find_original(connection, message);
                found.extend(original.map_err(StorageError::unavailable)?);
            }
            Ok(found)
        });
        let found = found.await?.into_iter();
        found
            .map(|(row, changes)| rows::message(row, changes))
            .collect()
    }

    async fn mark(&mut self, marks: &[Mark]) -> Result<Vec<Option<MarkedRead>>, StoreError> {
        let marks = marks.to_vec();
        let kinds = self.recorded.get().copied().unwrap_or_default();
        let mark = move |connection: &mut SqliteConnection| marks::mark(connection, &marks, kinds);
        self.writer.write_batch(mark).await
    }
}

/// Stores the messages in one transaction.
fn append(
    connection: &mut SqliteConnection,
    batch: &[Arc<NewMessage>],
    kinds: OutboxKinds,
) -> Result<Vec<Placed>, StoreError> {
    transaction(connection, |connection| {
        if batch.is_empty() {
            // BEGIN IMMEDIATE alone succeeds on a read-only file.
            diesel::sql_query(WRITE_NOTHING).execute(connection)?;
        }
        let places = batch.iter().map(|m| insert(connection, m));
        let places = places.collect::<QueryResult<Vec<_>>>()?;
        outbox::record::messages(connection, kinds, batch, &places)?;
        Ok(places)
    })
}

/// Carries out a transaction, and classifies its failure.
pub(super) fn transaction<T>(
    connection: &mut SqliteConnection,
    work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
) -> Result<T, StoreError> {
    let unavailable = |error| StoreError::Whole(StorageError::unavailable(error));
    // IMMEDIATE takes the write lock first: a transaction that reads before it writes
    // could be refused in its middle.
    AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN IMMEDIATE")
        .map_err(unavailable)?;
    match work(connection) {
        Ok(done) => {
            let commit = AnsiTransactionManager::commit_transaction(connection);
            commit.map_err(|error| StoreError::Whole(errors::after_failed_commit(error)))?;
            Ok(done)
        }
        Err(error) => {
            let rolled_back = AnsiTransactionManager::rollback_transaction(connection);
            match rolled_back {
                Ok(()) => Err(errors::of_row(error)),
                // Without a commit nothing is stored, and the connection is not used
                // again.
                Err(_) => Err(unavailable(error)),
            }
        }
    }
}

/// Finds the message that its author has stored under the same id, if the room has the rules by
/// which this one was decided.
fn find_original(
    connection: &mut SqliteConnection,
    message: &NewMessage,
) -> QueryResult<Option<StoredRow>> {
    let Some(id) = &message.client_message_id else {
        return Ok(None);
    };
    let room_id = rows::number(message.room_id.get());
    let decided_by = rows::number(message.rules.get());
    with_author()
        .filter(exists(
            rooms::table
                .find(room_id)
                .filter(rooms::rules.eq(decided_by)),
        ))
        .filter(messages::room_id.eq(room_id))
        .filter(messages::user_id.eq(message.author.id.as_str()))
        .filter(messages::client_message_id.eq(id.as_str()))
        .first(connection)
        .optional()
}

/// Takes the room's next number, if the room has the rules by which the message was decided.
fn count(
    connection: &mut SqliteConnection,
    message: &NewMessage,
    created_at: &str,
) -> QueryResult<Option<i64>> {
    let room_id = rows::number(message.room_id.get());
    let decided_by = rows::number(message.rules.get());
    let counted = diesel::update(rooms::table.find(room_id))
        .filter(rooms::rules.eq(decided_by))
        .set((
            rooms::last_seq.eq(rooms::last_seq + 1),
            rooms::active_at.eq(created_at),
        ))
        .returning(rooms::last_seq)
        .get_result(connection)
        .optional()?;
    // A room with rules has a row.
    if counted.is_some() || message.rules != RulesNumber::NONE {
        return Ok(counted);
    }
    diesel::insert_into(rooms::table)
        .values((
            rooms::id.eq(room_id),
            rooms::last_seq.eq(1),
            rooms::active_at.eq(created_at),
        ))
        .on_conflict_do_nothing()
        .returning(rooms::last_seq)
        .get_result(connection)
        .optional()
}

/// Numbers and stores one message and its author's name, and moves the author's pointer. A message
/// without extras takes one byte more than before it could have any: that of the absent column.
fn insert(connection: &mut SqliteConnection, message: &NewMessage) -> QueryResult<Placed> {
    let room_id = rows::number(message.room_id.get());
    let author = &message.author;
    let created_at = message.created_at.to_string();
    let Some(seq) = count(connection, message, &created_at)? else {
        return Ok(Placed::RulesChanged);
    };
    // After the commit it would be too late to refuse a counter that is not valid.
    let position =
        rows::position(seq).map_err(|error| Error::DeserializationError(Box::new(error)))?;
    let known = users::table
        .find(author.id.as_str())
        .select(users::name)
        .first::<String>(connection)
        .optional()?;
    // A stored name is not written again: most messages do not touch the user's row.
    if known.as_deref() != Some(author.name.as_str()) {
        diesel::insert_into(users::table)
            .values((
                users::id.eq(author.id.as_str()),
                users::name.eq(author.name.as_str()),
            ))
            .on_conflict(users::id)
            .do_update()
            .set(users::name.eq(excluded(users::name)))
            .execute(connection)?;
    }
    let id: i64 = diesel::insert_into(messages::table)
        .values((
            messages::room_id.eq(room_id),
            messages::seq.eq(seq),
            messages::user_id.eq(author.id.as_str()),
            messages::content.eq(message.content.as_str()),
            messages::client_message_id.eq(message
                .client_message_id
                .as_ref()
                .map(ClientMessageId::as_str)),
            messages::created_at.eq(created_at),
            messages::extras.eq(message.extras.as_deref().map(stored_extras::encode)),
        ))
        .returning(messages::id)
        .get_result(connection)?;
    let extras = message.extras.iter();
    for user_id in extras.flat_map(|extras| &extras.mentions) {
        diesel::insert_into(mentions::table)
            .values((
                mentions::room_id.eq(room_id),
                mentions::user_id.eq(user_id.as_str()),
                mentions::seq.eq(seq),
            ))
            .on_conflict_do_nothing()
            .execute(connection)?;
    }
    diesel::insert_into(read_pointers::table)
        .values((
            read_pointers::room_id.eq(room_id),
            read_pointers::user_id.eq(author.id.as_str()),
            read_pointers::seq.eq(seq),
        ))
        .on_conflict((read_pointers::room_id, read_pointers::user_id))
        .do_update()
        .set(read_pointers::seq.eq(excluded(read_pointers::seq)))
        .execute(connection)?;
    Ok(Placed::Stored(MessageId::new(id), position))
}

#[cfg(test)]
mod tests {
    use chat_domain::ports::{MessageRepository as _, ReadLimit};
    use chat_domain::{Content, DisplayName, RoomId, Seq, Timestamp, User, UserId};
    use diesel::connection::SimpleConnection as _;

    use super::*;
    use crate::sqlite::Database;

    /// The limit of the file's size has the effect of a full disk.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_database_stores_nothing_until_there_is_space() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("chat.db"), 1).unwrap();
        database.migrate().await.unwrap();
        let mut connection = database.file.open().unwrap();
        let pages: i64 = diesel::dsl::sql::<diesel::sql_types::BigInt>("PRAGMA page_count")
            .get_result(&mut connection)
            .unwrap();
        let limit = |connection: &mut SqliteConnection, pages| {
            let limit = format!("PRAGMA max_page_count = {pages}");
            connection.batch_execute(&limit).unwrap();
        };
        let message = NewMessage {
            extras: None,
            room_id: RoomId::new(1).unwrap(),
            author: User {
                id: UserId::new("42").unwrap(),
                name: DisplayName::from_text("Ada"),
            },
            content: Content::new("x".repeat(4000)).unwrap(),
            client_message_id: None,
            created_at: Timestamp::from_unix_millis(0),
            rules: chat_domain::RulesNumber::NONE,
        };
        let batch = [Arc::new(message)];

        limit(&mut connection, pages + 3);
        let mut stored = 0;
        let refused = loop {
            match append(&mut connection, &batch, OutboxKinds::NONE) {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(refused, StoreError::Whole(StorageError::Unavailable(_))),
            "{refused:?}"
        );
        let read = database
            .after(
                batch[0].room_id,
                Seq::START,
                ReadLimit {
                    messages: 100,
                    bytes: usize::MAX,
                },
            )
            .await
            .unwrap()
            .messages;
        assert_eq!(read.len(), stored);

        limit(&mut connection, pages + 100);
        let after = append(&mut connection, &batch, OutboxKinds::NONE).unwrap();
        assert!(
            matches!(after[..], [Placed::Stored(_, seq)] if seq.get() == stored as u64 + 1),
            "{after:?}"
        );
    }
}
