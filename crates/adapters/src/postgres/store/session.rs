//! A session that stores.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_domain::{BoxError, NewMessage};
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::names::Names;
use super::statements::{APPEND, APPEND_WITH_EXTRAS, MARK, ORIGINALS};
use crate::postgres::connect::{Connector, Purpose, STATEMENT_DEADLINE};
use crate::postgres::rows;

/// How long a session may be idle until it is tested before it is used.
const IDLE: Duration = Duration::from_secs(1);

/// A session and its prepared statements.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) append: Statement,
    pub(super) append_with_extras: Statement,
    pub(super) mark: Statement,
    originals: Statement,
    /// Drives the connection until it ends, and returns why.
    driver: JoinHandle<Option<Error>>,
    /// The key of the advisory lock that the session's backend holds. No other session
    /// uses it.
    pub(super) key: i64,
    /// The ids that the next messages get.
    pub(super) ids: Range<i64>,
    pub(super) names: Names,
    used: Instant,
}

impl Drop for Session {
    /// Closes the connection at once, whatever the server is doing.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub(super) async fn open(connector: &Connector, names: Names) -> Result<Self, BoxError> {
        let key = getrandom::u64()?.cast_signed();
        let (client, connection) = connector.connect_raw(Purpose::Store).await?;
        let driver = tokio::spawn(async move { connection.await.err() });
        let lock = format!("SELECT pg_advisory_lock({key})");
        let prepared = in_time(async {
            tokio::try_join!(
                client.prepare(APPEND),
                client.prepare(APPEND_WITH_EXTRAS),
                client.prepare(MARK),
                client.prepare(ORIGINALS),
                client.batch_execute(&lock),
            )
        });
        match flatten(prepared.await) {
            Ok((append, append_with_extras, mark, originals, _)) => Ok(Self {
                client,
                append,
                append_with_extras,
                mark,
                originals,
                driver,
                key,
                ids: 0..0,
                names,
                used: Instant::now(),
            }),
            Err(error) => {
                driver.abort();
                Err(error)
            }
        }
    }

    /// Returns the session if it can be used. One that was idle is tested: if its connection
    /// broke meanwhile, the outcome of a call would be unknown.
    pub(super) async fn usable(mut self) -> Option<Self> {
        if self.client.is_closed() {
            return None;
        }
        if self.used.elapsed() > IDLE {
            flatten(in_time(self.client.batch_execute("")).await).ok()?;
        }
        self.used = Instant::now();
        Some(self)
    }

    /// Returns whether the server has ended the session while no call was in progress. A
    /// call that failed was then never sent.
    pub(super) async fn ended_while_unused(&mut self) -> bool {
        // What the server reports during a call is the answer to the call.
        match in_time(&mut self.driver).await {
            Ok(Ok(Some(error))) => error.as_db_error().is_some(),
            _ => false,
        }
    }

    /// Finds the stored messages with the ids of these, in rooms whose rules are those by which
    /// these were decided.
    pub(super) async fn originals(&self, batch: &[Arc<NewMessage>]) -> Result<Vec<Row>, BoxError> {
        let (mut rooms, mut users, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        let mut rules = Vec::new();
        for message in batch {
            if let Some(id) = &message.client_message_id {
                rooms.push(rows::number(message.room_id.get()));
                users.push(message.author.id.as_str());
                ids.push(id.as_str());
                rules.push(rows::number(message.rules.get()));
            }
        }
        let parameters: [&(dyn ToSql + Sync); 4] = [&rooms, &users, &ids, &rules];
        let found = in_time(self.client.query(&self.originals, &parameters)).await;
        flatten(found)
    }

    /// Ends the transaction. Returns the session, ready for another one, or `None` if it
    /// cannot be used again.
    pub(super) async fn rolled_back(self) -> Option<Self> {
        let rolled_back = in_time(self.client.batch_execute("ROLLBACK")).await;
        flatten(rolled_back).is_ok().then_some(self)
    }
}

/// Waits for an answer, as long as a caller does.
pub(super) async fn in_time<T, E>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<Result<T, E>, Elapsed> {
    timeout(STATEMENT_DEADLINE, work).await
}

fn flatten<T>(outcome: Result<Result<T, Error>, Elapsed>) -> Result<T, BoxError> {
    Ok(outcome??)
}
