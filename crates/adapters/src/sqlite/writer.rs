//! The task that carries out all writes, one after the other.

use std::future::pending;
use std::time::{Duration, Instant};

use chat_domain::StorageError;
use diesel::SqliteConnection;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

use super::checkpoint::Checkpoint;
use super::file::{DatabaseFile, FileIdentity};
use crate::group_commit::StoreError;

/// The maximum number of queued writes. A further one is refused at once.
const QUEUE: usize = 10_000;
/// A write that has waited longer is refused instead of carried out, so that its caller
/// gets an answer before it gives up.
const QUEUE_DEADLINE: Duration = Duration::from_secs(5);

/// Queues writes for the task that carries them out.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
}

struct Job {
    since: Instant,
    write: Write,
}

/// Carries out a write, or takes the reason why it cannot be carried out; answers the
/// caller; and returns whether the connection may be used again.
type Write = Box<dyn FnOnce(Result<&mut SqliteConnection, StorageError>) -> Reuse + Send>;

/// Whether a connection may be used again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Yes,
    /// The write failed: the next one starts on a new connection, whatever the fault was.
    No,
}

impl Writer {
    /// Starts the task. It ends when the last writer is dropped and all queued writes are
    /// carried out.
    pub(super) fn start(file: DatabaseFile) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(run(file, jobs));
        Self { queue }
    }

    /// Carries out a write and returns its result. Dropping this future does not undo or
    /// interrupt the write.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut SqliteConnection) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (answer, outcome) = oneshot::channel();
        let job = Job {
            since: Instant::now(),
            write: Box::new(move |connection| {
                let outcome = connection.and_then(write);
                let reuse = match outcome {
                    Ok(_) => Reuse::Yes,
                    Err(_) => Reuse::No,
                };
                // The caller may have stopped waiting.
                answer.send(outcome).ok();
                reuse
            }),
        };
        self.queue.try_send(job).map_err(|error| {
            StorageError::unavailable(match error {
                TrySendError::Full(_) => "too many writes are queued",
                TrySendError::Closed(_) => "the task that writes has ended",
            })
        })?;
        // Without an answer, the write has panicked somewhere in its middle.
        outcome
            .await
            .unwrap_or_else(|_| Err(StorageError::outcome_unknown("the write panicked")))
    }

    /// Carries out the transaction of a batch, one of whose rows may be at fault.
    pub(super) async fn write_batch<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let written = self.write(move |connection| match work(connection) {
            // The file is not at fault: the connection may be used again.
            Err(error @ (StoreError::Repeat | StoreError::Row(_))) => Ok(Err(error)),
            Err(StoreError::Whole(error)) => Err(error),
            outcome => Ok(outcome),
        });
        written.await.map_err(StoreError::Whole)?
    }

    /// Completes when the task has ended although this writer still exists.
    pub(super) async fn stopped(&self) {
        self.queue.closed().await;
    }
}

async fn run(file: DatabaseFile, mut jobs: mpsc::Receiver<Job>) {
    let mut state = State::default();
    loop {
        let job = tokio::select! {
            biased;
            job = jobs.recv() => match job {
                Some(job) => Some(job),
                None => break,
            },
            () = reached(state.checkpoint.retry_at()) => None,
        };
        let file = file.clone();
        // A write that panics takes its connection with it.
        state = spawn_blocking(move || state.next(&file, job))
            .await
            .unwrap_or_default();
    }
}

/// Completes at this time, or never.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}

/// What the task keeps from one write to the next.
#[derive(Default)]
struct State {
    open: Option<Open>,
    checkpoint: Checkpoint,
}

/// A connection, and the file that it has opened.
struct Open {
    connection: SqliteConnection,
    identity: FileIdentity,
}

impl State {
    /// Carries out the write, if there is one, and keeps the log small.
    fn next(mut self, file: &DatabaseFile, job: Option<Job>) -> Self {
        if let Some(job) = job {
            self.open = job.carry_out(file, self.open);
        }
        if let Some(open) = &mut self.open {
            let reset = self.checkpoint.reset_large_log(file, &mut open.connection);
            if let Err(error) = reset {
                tracing::warn!(%error, "SQLite's log cannot be reset");
                self.open = None;
            }
        }
        self
    }
}

impl Job {
    /// Returns the connection if the next write may use it.
    fn carry_out(self, file: &DatabaseFile, open: Option<Open>) -> Option<Open> {
        if self.since.elapsed() > QUEUE_DEADLINE {
            let reason = "the write was queued for too long";
            (self.write)(Err(StorageError::unavailable(reason)));
            return open;
        }
        match Open::reuse(open, file) {
            Ok(mut open) => {
                let reuse = (self.write)(Ok(&mut open.connection));
                (reuse == Reuse::Yes).then_some(open)
            }
            Err(error) => {
                (self.write)(Err(error));
                None
            }
        }
    }
}

impl Open {
    /// Returns the open connection, or a new one. Fails if the path does not lead to the
    /// connection's file any more.
    fn reuse(open: Option<Self>, file: &DatabaseFile) -> Result<Self, StorageError> {
        let open = match open {
            Some(open) => open,
            None => Self {
                connection: file.open().map_err(StorageError::unavailable)?,
                identity: file
                    .identity()
                    .ok_or_else(|| StorageError::unavailable("the database file is missing"))?,
            },
        };
        if file.identity() != Some(open.identity) {
            let reason = "the database file was moved or deleted";
            return Err(StorageError::unavailable(reason));
        }
        Ok(open)
    }
}
