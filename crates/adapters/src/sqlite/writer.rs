//! The one task that writes.

use std::time::{Duration, Instant};

use chat_domain::StorageError;
use diesel::SqliteConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use tokio::sync::{mpsc, oneshot};

use super::file::{DatabaseFile, FileIdentity};

/// How many writes may wait. More are refused at once.
const QUEUE: usize = 10_000;
/// What has waited longer is refused instead of written: its sender is told before
/// it gives up.
const QUEUE_DEADLINE: Duration = Duration::from_secs(5);

/// Hands writes to the task that carries them out.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
}

struct Job {
    since: Instant,
    work: Work,
}

/// A write: does it, or takes the reason why it cannot be done; answers its sender;
/// and says whether the connection may be used again.
type Work = Box<dyn FnOnce(Result<&mut SqliteConnection, StorageError>) -> Connected + Send>;

/// Whether a connection may be used again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connected {
    Well,
    /// Whatever went wrong, the next write starts with a new connection.
    No,
}

impl Writer {
    /// Starts the task. It ends when the last writer is dropped and what was
    /// queued is written.
    pub(super) fn start(file: DatabaseFile) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(run(file, jobs));
        Self { queue }
    }

    /// Writes something. The task decides what the answer is: dropping this future
    /// does not undo anything.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (answer, outcome) = oneshot::channel();
        let job = Job {
            since: Instant::now(),
            work: Box::new(move |connection| {
                let outcome = connection.and_then(work);
                let connected = match outcome {
                    Ok(_) => Connected::Well,
                    Err(_) => Connected::No,
                };
                // A sender that is gone needs no answer.
                answer.send(outcome).ok();
                connected
            }),
        };
        self.queue
            .try_send(job)
            .map_err(|_| StorageError::unavailable("too many messages wait to be stored"))?;
        // Without an answer, the work has panicked in the middle.
        outcome
            .await
            .unwrap_or_else(|_| Err(StorageError::outcome_unknown("the writing task was ended")))
    }
}

type Connection = SyncConnectionWrapper<SqliteConnection>;

async fn run(file: DatabaseFile, mut jobs: mpsc::Receiver<Job>) {
    let mut open: Option<(Connection, FileIdentity)> = None;
    while let Some(Job { since, work }) = jobs.recv().await {
        if since.elapsed() > QUEUE_DEADLINE {
            work(Err(StorageError::unavailable(
                "the message waited too long",
            )));
            continue;
        }
        let (mut connection, identity) = match open.take() {
            Some(open) => open,
            None => match connect(file.clone()).await {
                Ok(open) => open,
                Err(error) => {
                    work(Err(error));
                    continue;
                }
            },
        };
        let found = file.clone();
        let written = connection.spawn_blocking(move |connection| {
            if found.identity() != Some(identity) {
                let moved = "the database file was moved or deleted";
                return Ok(work(Err(StorageError::unavailable(moved))));
            }
            Ok(work(Ok(connection)))
        });
        if written.await == Ok(Connected::Well) {
            open = Some((connection, identity));
        }
    }
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
