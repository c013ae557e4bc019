//! Stores batches on PostgreSQL, on a session of its own.
//!
//! **Locks.** A transaction that stores messages locks rooms first, then users, then read
//! pointers, each in ascending order, and one that moves read pointers locks only those, in
//! the same order. No two transactions can therefore wait for each other. The ids of
//! messages belong to rooms and are protected by them.
//!
//! **What is certain.** Before the second round trip nothing can be stored: without a
//! `COMMIT` the server rolls back. After it, an error that the server reports is a rollback
//! (a statement that hangs ends in one, before its caller stops waiting for it); a
//! connection that breaks, or an answer that does not arrive in time, leaves the outcome
//! unknown. The old transaction then holds its rooms' counters until it ends: whatever is
//! stored later in these rooms, on any session, waits for it and is numbered after it. No
//! other lock is needed for that.
//!
//! The store uses the driver directly: diesel does not pass on the server's error code,
//! which decides what becomes of the other messages of a batch.

mod error;
mod locks;
mod marks;
mod session;
mod statements;
mod transaction;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_domain::ports::MarkedRead;
use chat_domain::{BoxError, Message, MessageId, NewMessage, RoomId, Seq, StorageError};

use self::error::{TransactionError, unavailable};
use self::session::{Session, in_time};
use self::transaction::LockWait;
use super::connect::{Connector, STATEMENT_DEADLINE};
use super::rows;
use crate::group_commit::{Mark, Store, StoreError};

/// How long a batch is tried again whose locks are taken by transactions that come and go.
const LOCK_DEADLINE: Duration = STATEMENT_DEADLINE.saturating_sub(Duration::from_millis(1500));

/// A session that stores, opened when it is needed.
pub(super) struct PostgresStore {
    connector: Connector,
    session: Option<Session>,
}

/// Whether a session was used before. An error of a used one may be due to its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Used,
}

impl Store for PostgresStore {
    async fn store(
        &mut self,
        batch: &[Arc<NewMessage>],
    ) -> Result<Vec<(MessageId, Seq)>, StoreError> {
        self.store_waiting(batch, LockWait::Short).await
    }

    async fn store_left_behind(
        &mut self,
        batch: &[Arc<NewMessage>],
    ) -> Result<Vec<(MessageId, Seq)>, StoreError> {
        self.store_waiting(batch, LockWait::Long).await
    }

    async fn originals(&mut self, batch: &[Arc<NewMessage>]) -> Result<Vec<Message>, StorageError> {
        loop {
            let (session, age) = self
                .take_session()
                .await
                .map_err(StorageError::unavailable)?;
            match session.originals(batch).await {
                Ok(found) => {
                    self.session = Some(session);
                    return found.iter().map(rows::from_driver).collect();
                }
                Err(error) if age == Age::New => return Err(StorageError::unavailable(error)),
                // The session may be at fault, which is not used again.
                Err(_) => {}
            }
        }
    }

    async fn mark(&mut self, marks: &[Mark]) -> Result<Vec<MarkedRead>, StoreError> {
        loop {
            let (session, age) = self.take_session().await.map_err(unavailable)?;
            match session.mark(marks).await {
                Ok(marked) => {
                    self.session = Some(session);
                    return Ok(marked);
                }
                Err(TransactionError::Session(_)) if age == Age::Used => {}
                Err(TransactionError::Session(error)) => return Err(unavailable(error)),
                Err(TransactionError::Lock(error)) => {
                    self.session = session.rolled_back().await;
                    return Err(StoreError::row(error));
                }
                Err(TransactionError::Refused(error)) => {
                    self.session = session.rolled_back().await;
                    return Err(error);
                }
                Err(TransactionError::Broken(error)) => return Err(error),
            }
        }
    }
}

impl PostgresStore {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            session: None,
        }
    }

    async fn store_waiting(
        &mut self,
        batch: &[Arc<NewMessage>],
        wait: LockWait,
    ) -> Result<Vec<(MessageId, Seq)>, StoreError> {
        let began = Instant::now();
        loop {
            let (session, age) = self.take_session().await.map_err(unavailable)?;
            match session.store(batch, wait).await {
                Ok(stored) => {
                    self.session = Some(session);
                    return Ok(stored);
                }
                // Tried again on a new session.
                Err(TransactionError::Session(_)) if age == Age::Used => {}
                Err(TransactionError::Session(error)) => return Err(unavailable(error)),
                Err(TransactionError::Lock(reason)) => {
                    self.session = session.rolled_back().await;
                    let rooms = self.locked(batch).await;
                    if !rooms.is_empty() {
                        return Err(StoreError::Part {
                            unavailable: rooms,
                            reason,
                        });
                    }
                    // Something else is locked, or the rooms are free by now.
                    if began.elapsed() > LOCK_DEADLINE {
                        return Err(unavailable(reason));
                    }
                }
                Err(TransactionError::Refused(error)) => {
                    self.session = session.rolled_back().await;
                    return Err(error);
                }
                Err(TransactionError::Broken(error)) => return Err(error),
            }
        }
    }

    async fn take_session(&mut self) -> Result<(Session, Age), BoxError> {
        let usable = self.session.take().filter(|s| !s.client.is_closed());
        match usable {
            Some(session) => Ok((session, Age::Used)),
            None => Ok((Session::open(&self.connector).await?, Age::New)),
        }
    }

    /// Returns the rooms of the batch that another transaction has locked or is creating;
    /// none if that cannot be determined.
    async fn locked(&mut self, batch: &[Arc<NewMessage>]) -> Vec<RoomId> {
        let Some(session) = &self.session else {
            return Vec::new();
        };
        match in_time(session.find_locked(batch)).await {
            Ok(Ok(locked)) => locked,
            Ok(Err(_)) | Err(_) => {
                self.session = None;
                Vec::new()
            }
        }
    }
}
