//! Stores batches on PostgreSQL, on a session of its own.
//!
//! **Messages** are stored by the function `append_messages` of the database, in one call
//! and in autocommit: no lock is held while the server waits for this process, so that a
//! process that is paused or cut off keeps no room locked. A call never waits for a room
//! while it has locked another; see the function.
//!
//! **Read pointers** are moved by transactions that lock nothing else, in the same order as
//! the function. No two transactions can therefore wait for each other.
//!
//! **What is certain.** An error that the server reports instead of a result is a rollback,
//! and so is one that it reports instead of the commit (a statement that hangs ends in one,
//! before its caller stops waiting for it). A connection that breaks, or an answer that does
//! not arrive in time, leaves the outcome unknown: the backend may still carry out the call.
//! It holds an advisory lock of its own until it ends, and until that lock is free, nothing
//! else is stored in the rooms of the batch ([`unsettled`]).
//!
//! The store uses the driver directly: diesel does not pass on the server's error code,
//! which decides what becomes of the other messages of a batch.

mod append;
mod error;
mod marks;
mod names;
mod session;
mod statements;
mod unsettled;

use std::sync::Arc;

use chat_domain::ports::MarkedRead;
use chat_domain::{BoxError, Message, NewMessage, StorageError};

use self::error::{CallError, unavailable};
pub(super) use self::names::Names;
use self::session::Session;
use self::unsettled::UnsettledCall;
use super::connect::Connector;
use super::rows;
use crate::group_commit::{Mark, Placed, Store, StoreError, Unsettled};

/// A session that stores, opened when it is needed.
pub(super) struct PostgresStore {
    connector: Connector,
    names: Names,
    session: Option<Session>,
    unsettled: Option<UnsettledCall>,
    /// The number of batches of locked rooms so far.
    left_behind: usize,
}

/// Whether a session was used before. An error of a used one may be due to its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Used,
}

impl Store for PostgresStore {
    async fn store(&mut self, batch: &[Arc<NewMessage>]) -> Result<Vec<Placed>, StoreError> {
        self.unsettled = None;
        loop {
            let (mut session, age) = self.take_session().await.map_err(unavailable)?;
            match session.append(batch).await {
                Ok(places) => {
                    self.session = Some(session);
                    return Ok(places);
                }
                // Tried again on a new session.
                Err(CallError::Session(_)) if age == Age::Used => {}
                Err(CallError::Session(error)) => return Err(unavailable(error)),
                Err(CallError::Lock(reason)) => {
                    self.session = Some(session);
                    return match batch {
                        [] => Err(unavailable(reason)),
                        _ => Ok(vec![Placed::Locked; batch.len()]),
                    };
                }
                Err(CallError::Refused(error)) => {
                    self.session = Some(session);
                    return Err(error);
                }
                Err(CallError::Broken(error)) => {
                    self.unsettled = Some(UnsettledCall {
                        connector: self.connector.clone(),
                        key: session.key,
                    });
                    return Err(error);
                }
            }
        }
    }

    async fn store_left_behind(
        &mut self,
        batch: &[Arc<NewMessage>],
    ) -> Result<Vec<Placed>, StoreError> {
        let places = self.store(batch).await?;
        if places.iter().any(|place| *place != Placed::Locked) {
            return Ok(places);
        }
        // Waits for one of the rooms, another one each time.
        self.left_behind += 1;
        let room_id = batch[self.left_behind % batch.len()].room_id;
        let is_of_room = |message: &&Arc<NewMessage>| message.room_id == room_id;
        let messages: Vec<_> = batch.iter().filter(is_of_room).cloned().collect();
        if messages.len() == batch.len() {
            return Ok(places);
        }
        let mut of_room = self.store(&messages).await?.into_iter();
        let places = batch
            .iter()
            .map(|message| match message.room_id == room_id {
                true => of_room.next().unwrap_or(Placed::Locked),
                false => Placed::Locked,
            });
        Ok(places.collect())
    }

    fn take_unsettled(&mut self) -> Option<Arc<dyn Unsettled>> {
        let unsettled = self.unsettled.take()?;
        Some(Arc::new(unsettled))
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

    async fn mark(&mut self, marks: &[Mark]) -> Result<Vec<Option<MarkedRead>>, StoreError> {
        loop {
            let (session, age) = self.take_session().await.map_err(unavailable)?;
            match session.mark(marks).await {
                Ok(marked) => {
                    self.session = Some(session);
                    return Ok(marked);
                }
                Err(CallError::Session(_)) if age == Age::Used => {}
                Err(CallError::Session(error)) => return Err(unavailable(error)),
                Err(CallError::Lock(error)) => {
                    self.session = session.rolled_back().await;
                    return Err(StoreError::row(error));
                }
                Err(CallError::Refused(error)) => {
                    self.session = session.rolled_back().await;
                    return Err(error);
                }
                Err(CallError::Broken(error)) => return Err(error),
            }
        }
    }
}

impl PostgresStore {
    pub(super) fn new(connector: Connector, names: Names) -> Self {
        Self {
            connector,
            names,
            session: None,
            unsettled: None,
            left_behind: 0,
        }
    }

    async fn take_session(&mut self) -> Result<(Session, Age), BoxError> {
        if let Some(session) = self.session.take()
            && let Some(session) = session.usable().await
        {
            return Ok((session, Age::Used));
        }
        let session = Session::open(&self.connector, self.names.clone()).await?;
        Ok((session, Age::New))
    }
}
