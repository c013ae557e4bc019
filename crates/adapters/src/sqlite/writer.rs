//! The one task that writes.

use std::time::{Duration, Instant};

use chat_domain::{NewMessage, StorageError};
use diesel::SqliteConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use tokio::sync::{mpsc, oneshot};

use super::file::{DatabaseFile, FileIdentity};
use super::message_repository::{Stored, append};

/// How many messages may wait. More are refused at once.
const QUEUE: usize = 10_000;
/// What has waited longer is refused instead of stored: its sender is told before
/// it gives up.
const QUEUE_DEADLINE: Duration = Duration::from_secs(5);

/// Hands messages to the task that writes them.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
}

struct Job {
    message: NewMessage,
    since: Instant,
    answer: oneshot::Sender<Result<Stored, StorageError>>,
}

impl Writer {
    /// Starts the task. It ends when the last writer is dropped and what was
    /// queued is stored.
    pub(super) fn start(file: DatabaseFile) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(run(file, jobs));
        Self { queue }
    }

    /// Stores a message. The task decides what the answer is: dropping this
    /// future does not undo anything.
    pub(super) async fn append(&self, message: NewMessage) -> Result<Stored, StorageError> {
        let (answer, outcome) = oneshot::channel();
        let job = Job {
            message,
            since: Instant::now(),
            answer,
        };
        self.queue
            .try_send(job)
            .map_err(|_| StorageError::unavailable("too many messages wait to be stored"))?;
        outcome
            .await
            .unwrap_or_else(|_| Err(StorageError::outcome_unknown("the writing task was ended")))
    }
}

type Connection = SyncConnectionWrapper<SqliteConnection>;

async fn run(file: DatabaseFile, mut jobs: mpsc::Receiver<Job>) {
    let mut open: Option<(Connection, FileIdentity)> = None;
    while let Some(job) = jobs.recv().await {
        let outcome = if job.since.elapsed() > QUEUE_DEADLINE {
            Err(StorageError::unavailable("the message waited too long"))
        } else {
            write(&file, &mut open, job.message).await
        };
        // Whatever went wrong, the next one starts with a new connection.
        if outcome.is_err() {
            open = None;
        }
        // A sender that is gone needs no answer.
        job.answer.send(outcome).ok();
    }
}

async fn write(
    file: &DatabaseFile,
    open: &mut Option<(Connection, FileIdentity)>,
    message: NewMessage,
) -> Result<Stored, StorageError> {
    if open.is_none() {
        *open = Some(connect(file.clone()).await?);
    }
    let Some((connection, identity)) = open else {
        return Err(StorageError::unavailable("no connection"));
    };
    let (file, identity) = (file.clone(), *identity);
    let work = move |connection: &mut SqliteConnection| {
        if file.identity() != Some(identity) {
            let moved = "the database file was moved or deleted";
            return Ok(Err(StorageError::unavailable(moved)));
        }
        Ok(append(connection, &message))
    };
    // The closure answers every error itself; what is left is its panic.
    connection
        .spawn_blocking(work)
        .await
        .map_err(StorageError::outcome_unknown)?
}

async fn connect(file: DatabaseFile) -> Result<(Connection, FileIdentity), StorageError> {
    let opened = tokio::task::spawn_blocking(move || {
        let connection = file.open().map_err(StorageError::unavailable)?;
        let identity = file
            .identity()
            .ok_or_else(|| StorageError::unavailable("the database file is gone"))?;
        Ok((SyncConnectionWrapper::new(connection), identity))
    });
    opened.await.map_err(StorageError::unavailable)?
}
