//! A session that stores.

use std::sync::Arc;

use chat_domain::{BoxError, NewMessage};
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::statements::{COUNT, INSERT, MARK, ORIGINALS};
use crate::postgres::connect::{Connector, Purpose, STATEMENT_DEADLINE};
use crate::postgres::rows;

/// A session and its prepared statements.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) count: Statement,
    pub(super) insert: Statement,
    pub(super) mark: Statement,
    originals: Statement,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    /// Closes the connection at once, whatever the server is doing.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub(super) async fn open(connector: &Connector) -> Result<Self, BoxError> {
        let (client, connection) = connector.connect_raw(Purpose::Store).await?;
        let driver = tokio::spawn(async move {
            // The user of the connection gets the error as well.
            connection.await.ok();
        });
        let prepared = in_time(async {
            tokio::try_join!(
                client.prepare(COUNT),
                client.prepare(INSERT),
                client.prepare(MARK),
                client.prepare(ORIGINALS),
            )
        });
        match flatten(prepared.await) {
            Ok((count, insert, mark, originals)) => Ok(Self {
                client,
                count,
                insert,
                mark,
                originals,
                driver,
            }),
            Err(error) => {
                driver.abort();
                Err(error)
            }
        }
    }

    /// Finds the stored messages with the ids of these.
    pub(super) async fn originals(&self, batch: &[Arc<NewMessage>]) -> Result<Vec<Row>, BoxError> {
        let (mut rooms, mut users, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for message in batch {
            if let Some(id) = &message.client_message_id {
                rooms.push(rows::number(message.room_id.get()));
                users.push(message.author.id.as_str());
                ids.push(id.as_str());
            }
        }
        let parameters: [&(dyn ToSql + Sync); 3] = [&rooms, &users, &ids];
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
