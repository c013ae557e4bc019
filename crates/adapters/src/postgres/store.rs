//! Stores batches of messages on PostgreSQL, on a connection of its own.
//!
//! One transaction, two flights:
//!
//! 1. `BEGIN`, and with it the rooms: their counters are locked, in the order of
//!    their numbers on every node, and moved by as many as the batch has for them.
//! 2. One statement for the rest: authors that are new or renamed, read pointers,
//!    messages; and with it `COMMIT`. The statement joins nothing, so that its plan
//!    cannot go wrong with the tables' sizes.
//!
//! **Locks.** Rooms first, each batch in ascending order, then users in ascending
//! order: no two transactions can wait for each other. Read pointers and message ids
//! belong to rooms and are protected by them.
//!
//! **What is certain.** Before the second flight nothing can be stored: without a
//! `COMMIT` the server rolls back. After it, an error that the server reports is a
//! rollback (a statement that hangs ends in one, before anybody stops waiting for it);
//! a connection that breaks, or an answer that does not come in time, leaves the outcome
//! unknown. Then the old transaction still holds its rooms' counters until it ends:
//! whatever is stored later in these rooms, by whichever connection, waits for it and is
//! numbered after it. That is why no other lock is needed.
//!
//! This speaks to the driver directly: diesel does not tell the server's error code,
//! which decides here what becomes of the neighbours.

mod failure;
mod statements;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_domain::{BoxError, Message, MessageId, NewMessage, RoomId, Seq, StorageError};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use self::failure::{Failed, Step, refused, unavailable};
use self::statements::{
    BEGIN, BEGIN_PATIENTLY, BEGIN_PROBE, COUNT, Columns, FIND, FIND_FREE, INSERT, ORIGINALS,
    SESSION, TRY_NEW,
};
use super::pool::{CONNECT_DEADLINE, Connector, STATEMENT_DEADLINE};
use super::rows;
use crate::group_commit::{LockWait, NotStored, Store};

/// A connection that stores, opened when it is needed.
pub(super) struct PostgresStore {
    connector: Connector,
    session: Option<Session>,
}

struct Session {
    client: Client,
    count: Statement,
    insert: Statement,
    originals: Statement,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    /// Closes the connection at once, whatever the server is doing.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Store for PostgresStore {
    async fn store(
        &mut self,
        batch: &[Arc<NewMessage>],
        wait: LockWait,
    ) -> Result<Vec<(MessageId, Seq)>, NotStored> {
        let began = Instant::now();
        loop {
            let (session, age) = self.take_session().await.map_err(unavailable)?;
            match session.store(batch, wait).await {
                Ok(stored) => {
                    self.session = Some(session);
                    return Ok(stored);
                }
                Err(Failed::Known(error)) => {
                    // Trouble that is not the rows' own may be the session's, a
                    // statement that was prepared before a migration for one.
                    if !matches!(error, NotStored::All(_)) {
                        self.session = session.rolled_back().await;
                    }
                    return Err(error);
                }
                Err(Failed::Lock(error)) => {
                    self.session = session.rolled_back().await;
                    let locked = self.locked(batch).await;
                    if !locked.is_empty() {
                        return Err(NotStored::Locked(locked));
                    }
                    // Somebody has locked something else, or is gone by now.
                    if began.elapsed() > STATEMENT_DEADLINE - Duration::from_millis(1500) {
                        return Err(unavailable(error));
                    }
                }
                Err(Failed::NotBegun(error)) => {
                    drop(session);
                    // One that was idle may have ended since.
                    if age == Age::New {
                        return Err(unavailable(error));
                    }
                }
                Err(Failed::Broken(error)) => return Err(error),
            }
        }
    }

    async fn originals(&mut self, batch: &[Arc<NewMessage>]) -> Result<Vec<Message>, StorageError> {
        let (session, _) = self
            .take_session()
            .await
            .map_err(StorageError::unavailable)?;
        let found = in_time(session.originals(batch)).await;
        let found = found.map_err(StorageError::unavailable)?;
        let found = found.map_err(StorageError::unavailable)?;
        self.session = Some(session);
        found.iter().map(rows::from_driver).collect()
    }
}

#[derive(PartialEq, Eq)]
enum Age {
    New,
    Used,
}

impl PostgresStore {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            session: None,
        }
    }

    async fn take_session(&mut self) -> Result<(Session, Age), BoxError> {
        let usable = self.session.take().filter(|s| !s.client.is_closed());
        if let Some(session) = usable {
            return Ok((session, Age::Used));
        }
        let opened = timeout(CONNECT_DEADLINE, Session::open(&self.connector)).await??;
        Ok((opened, Age::New))
    }

    /// Which of the batch's rooms somebody else has locked, or is bringing into being.
    /// None if that cannot be found out.
    async fn locked(&mut self, batch: &[Arc<NewMessage>]) -> Vec<RoomId> {
        let Some(session) = &self.session else {
            return Vec::new();
        };
        let mut rooms: Vec<_> = batch.iter().map(|message| message.room_id).collect();
        rooms.sort_unstable();
        rooms.dedup();
        match in_time(session.find_locked(&rooms)).await {
            Ok(Ok(locked)) => locked,
            Ok(Err(_)) | Err(_) => {
                self.session = None;
                Vec::new()
            }
        }
    }
}

impl Session {
    async fn open(connector: &Connector) -> Result<Self, BoxError> {
        let (client, connection) = connector.connect_raw().await?;
        let driver = tokio::spawn(async move {
            // Whoever uses the connection is told as well.
            connection.await.ok();
        });
        let prepare = async {
            client.batch_execute(SESSION).await?;
            tokio::try_join!(
                client.prepare(COUNT),
                client.prepare(INSERT),
                client.prepare(ORIGINALS)
            )
        };
        match prepare.await {
            Ok((count, insert, originals)) => Ok(Self {
                client,
                count,
                insert,
                originals,
                driver,
            }),
            Err(error) => {
                driver.abort();
                Err(error.into())
            }
        }
    }

    async fn store(
        &self,
        batch: &[Arc<NewMessage>],
        wait: LockWait,
    ) -> Result<Vec<(MessageId, Seq)>, Failed> {
        let seqs = self.count(batch, wait).await?;
        let columns = Columns::new(batch, &seqs);
        let count = rows::number(batch.len() as u64);
        let parameters: [&(dyn ToSql + Sync); 12] = [
            &columns.users,
            &columns.names,
            &columns.pointer_rooms,
            &columns.pointer_users,
            &columns.pointers,
            &columns.rooms,
            &seqs,
            &columns.authors,
            &columns.contents,
            &columns.client_message_ids,
            &columns.times,
            &count,
        ];
        let insert = self.client.query(&self.insert, &parameters);
        let commit = self.client.batch_execute("COMMIT");
        // Both are sent before either is answered.
        let both = async { Ok::<_, Error>(tokio::join!(biased; insert, commit)) };
        let inserted = match in_time(both).await {
            Ok(Ok((Ok(inserted), Ok(())))) => inserted,
            Ok(Ok((Err(error), _))) => return Err(refused(error, Step::Insert)),
            Ok(Ok((Ok(_), Err(error))) | Err(error)) => return Err(refused(error, Step::Commit)),
            Err(error) => {
                let unknown = StorageError::outcome_unknown(error);
                return Err(Failed::Broken(NotStored::All(unknown)));
            }
        };
        // The order of the rows is not promised.
        let ids: HashMap<(i64, i64), i64> = inserted
            .iter()
            .map(|row| ((row.get(1), row.get(2)), row.get(0)))
            .collect();
        let stored = columns.rooms.iter().zip(&seqs).map(|(room_id, seq)| {
            let id = ids.get(&(*room_id, *seq)).copied().unwrap_or_default();
            Ok((MessageId::new(id), rows::position(*seq)?))
        });
        let stored: Result<_, StorageError> = stored.collect();
        stored.map_err(|error| Failed::Known(NotStored::All(error)))
    }

    /// Begins, and takes a number for each message.
    async fn count(&self, batch: &[Arc<NewMessage>], wait: LockWait) -> Result<Vec<i64>, Failed> {
        let mut rooms = BTreeMap::<i64, i64>::new();
        for message in batch {
            *rooms
                .entry(rows::number(message.room_id.get()))
                .or_default() += 1;
        }
        let (ids, counts): (Vec<i64>, Vec<i64>) = rooms.iter().unzip();
        let begin = match wait {
            LockWait::Short => BEGIN,
            LockWait::Long => BEGIN_PATIENTLY,
        };
        let begin = self.client.batch_execute(begin);
        let parameters: [&(dyn ToSql + Sync); 2] = [&ids, &counts];
        let count = self.client.query(&self.count, &parameters);
        // Both are sent before either is answered.
        let both = async { Ok(tokio::join!(biased; begin, count)) };
        let counted = match in_time::<_, Error>(both).await {
            Ok(Ok((Ok(()), Ok(counted)))) => counted,
            Ok(Ok((Err(error), _) | (Ok(()), Err(error))) | Err(error)) => {
                return Err(refused(error, Step::Count));
            }
            Err(error) => return Err(Failed::Broken(unavailable(error))),
        };
        // From a room's newest number to its first new one.
        for row in &counted {
            let (id, newest): (i64, i64) = (row.get(0), row.get(1));
            if let Some(number) = rooms.get_mut(&id) {
                *number = newest - *number + 1;
            }
        }
        if counted.len() != rooms.len() {
            let reason = "a room was not counted";
            return Err(Failed::Known(NotStored::Row(reason.into())));
        }
        let seqs = batch.iter().map(|message| {
            let next = rooms
                .entry(rows::number(message.room_id.get()))
                .or_default();
            *next += 1;
            *next - 1
        });
        Ok(seqs.collect())
    }

    async fn originals(&self, batch: &[Arc<NewMessage>]) -> Result<Vec<Row>, Error> {
        let (mut rooms, mut users, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for message in batch {
            if let Some(id) = &message.client_message_id {
                rooms.push(rows::number(message.room_id.get()));
                users.push(message.author.id.as_str());
                ids.push(id.as_str());
            }
        }
        let parameters: [&(dyn ToSql + Sync); 3] = [&rooms, &users, &ids];
        self.client.query(&self.originals, &parameters).await
    }

    /// Itself, ready for another transaction; or nothing.
    async fn rolled_back(self) -> Option<Self> {
        let rolled_back = in_time(self.client.batch_execute("ROLLBACK")).await;
        matches!(rolled_back, Ok(Ok(()))).then_some(self)
    }

    /// Looks in transactions that are rolled back, so that nothing stays locked.
    async fn find_locked(&self, rooms: &[RoomId]) -> Result<Vec<RoomId>, Error> {
        let ids: Vec<i64> = rooms.iter().map(|id| rows::number(id.get())).collect();
        let id = |row: &Row| row.get::<_, i64>(0);
        self.client.batch_execute(BEGIN_PROBE).await?;
        let known = self.client.query(FIND, &[&ids]).await;
        let free = self.client.query(FIND_FREE, &[&ids]).await;
        self.client.batch_execute("ROLLBACK").await?;
        let (Ok(known), Ok(free)) = (known, free) else {
            // The table itself is locked.
            return Ok(Vec::new());
        };
        let known: Vec<i64> = known.iter().map(id).collect();
        let free: Vec<i64> = free.iter().map(id).collect();
        let mut locked = Vec::new();
        for (room, id) in rooms.iter().zip(&ids) {
            let is_locked = match known.contains(id) {
                true => !free.contains(id),
                false => self.is_being_made(*id).await?,
            };
            if is_locked {
                locked.push(*room);
            }
        }
        Ok(locked)
    }

    async fn is_being_made(&self, id: i64) -> Result<bool, Error> {
        self.client.batch_execute(BEGIN_PROBE).await?;
        let tried = self.client.execute(TRY_NEW, &[&id]).await;
        self.client.batch_execute("ROLLBACK").await?;
        let code = tried.as_ref().err().and_then(Error::code);
        Ok(code == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }
}

/// An answer, or the news that it did not come in time.
async fn in_time<T, E>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<Result<T, E>, tokio::time::error::Elapsed> {
    timeout(STATEMENT_DEADLINE, work).await
}
