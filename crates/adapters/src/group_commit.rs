//! Many waiting appends become one transaction: the queue, the order, and what each
//! sender is told. How a batch is stored is the databases' own (see [`Store`]).
//!
//! **Why.** A commit waits for the disk, and a disk takes a few hundred a second.
//! One transaction stores a hundred messages for the price of one: with 512 callers
//! 24,900 messages a second instead of 2,900 on PostgreSQL (on one core), 15,400
//! instead of 1,800 on SQLite.
//!
//! **When.** There is no timer. What comes while nothing is being stored is stored
//! at once, alone if it is alone; what comes meanwhile goes with the next batch.
//! So batches grow with the load and a lone sender waits for one commit.
//!
//! **Order.** An append takes its place in the queue in its first poll. A room is in
//! one batch at a time, whole and in the queue's order; so what is sent later to a
//! room is numbered later, also when a batch failed or its outcome is unknown.
//!
//! **Neighbours.** A batch fails as a whole only when the database does.
//! - The same message twice: the later one follows the first and repeats it.
//! - A repeat of a stored one: the unique key raises, the stored ones are looked up
//!   and answered, the rest is stored again.
//! - A row that cannot be stored: the batch is halved until it is alone.
//! - A room that somebody else has locked: it is put aside, the rest is stored, and
//!   it waits on a lane of its own. Other rooms' batches no longer contain it.
//! - A batch that takes long for any other reason, its commit for one: after
//!   [`PATIENCE`] the other rooms' messages go past it on another lane.
//!
//! **Bounds.** [`QUEUE`] messages wait at most, and [`QUEUE_DEADLINE`] long; a batch
//! has [`BATCH`] messages and [`BATCH_BYTES`] of text. What is over is told
//! [`StorageError::Unavailable`] at once.

mod batch;
mod committer;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_domain::{
    BoxError, Message, MessageId, NewMessage, RoomId, Seq, StorageError,
    ports::{AppendError, Appended},
};
use tokio::sync::{mpsc, oneshot};

/// How many messages may wait; and how many more behind rooms that are being stored.
const QUEUE: usize = 10_000;
/// What has waited longer is refused instead of stored: its sender is told before it
/// gives up. Longer than a commit may take, behind which it may have waited, and the
/// locks that are left by one that took too long.
const QUEUE_DEADLINE: Duration = Duration::from_secs(8);
/// How many messages are stored at once.
const BATCH: usize = 512;
/// How many bytes of text are stored at once; one message may go beyond.
const BATCH_BYTES: usize = 1 << 20;
/// How long one batch may keep all others waiting.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a batch is worked on before what is left of it is refused.
const BATCH_DEADLINE: Duration = Duration::from_secs(5);

/// Where batches are stored: one connection's worth.
pub(crate) trait Store: Send + 'static {
    /// Stores the messages in their order, their authors' names and read pointers:
    /// all or nothing. No two of them are repeats of each other.
    ///
    /// Returns what each message became, in the order of the batch.
    fn store(
        &mut self,
        batch: &[Arc<NewMessage>],
        wait: LockWait,
    ) -> impl Future<Output = Result<Vec<(MessageId, Seq)>, NotStored>> + Send;

    /// The stored messages that these would repeat, in any order.
    fn originals(
        &mut self,
        batch: &[Arc<NewMessage>],
    ) -> impl Future<Output = Result<Vec<Message>, StorageError>> + Send;
}

/// How long a batch waits for rooms that somebody else has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockWait {
    /// Not for long: the others in the batch wait too.
    Short,
    /// For as long as a sender waits.
    Long,
}

/// Why a batch was not stored.
#[derive(Debug)]
pub(crate) enum NotStored {
    /// One of them repeats a stored one.
    Repeat,
    /// One of the rows is at fault, or may be: the others can be stored without it.
    Row(BoxError),
    /// Somebody else has locked these rooms.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "SQLite locks no rooms")
    )]
    Locked(Vec<RoomId>),
    /// None can be stored, or it is not known.
    All(StorageError),
}

/// Hands messages to the task that stores them.
#[derive(Clone)]
pub(crate) struct GroupCommit {
    queue: mpsc::Sender<Waiting>,
}

impl GroupCommit {
    /// Starts the task, which stores on `lanes` connections at the most. It ends
    /// when the last clone of this is dropped and what was queued is answered.
    pub(crate) fn start<S: Store>(lanes: usize, open: impl Fn() -> S + Send + 'static) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(committer::Committer::new(waiting, lanes, open).run());
        Self { queue }
    }

    /// Stores a message; see the port. It takes its place in the first poll, and
    /// dropping this future later does not undo anything.
    pub(crate) async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        let (answer, outcome) = oneshot::channel();
        let waiting = Waiting {
            since: Instant::now(),
            message: Arc::new(message),
            answer,
        };
        self.queue
            .try_send(waiting)
            .map_err(|_| StorageError::unavailable("too many messages wait to be stored"))?;
        // Without an answer, the task that stored it has panicked in the middle.
        outcome.await.unwrap_or_else(|_| {
            Err(StorageError::outcome_unknown("the storing task was ended").into())
        })
    }
}

/// A message that waits to be stored, and its sender.
struct Waiting {
    since: Instant,
    message: Arc<NewMessage>,
    answer: Answer,
}

/// Tells a sender what became of its message.
type Answer = oneshot::Sender<Result<Appended, AppendError>>;

impl Waiting {
    fn room_id(&self) -> RoomId {
        self.message.room_id
    }

    fn answer(self, outcome: Result<Appended, AppendError>) {
        // A sender that is gone needs no answer.
        self.answer.send(outcome).ok();
    }

    /// Is the message that is stored, or used its id for another.
    fn repeats(self, original: &Message) {
        let outcome = match original.content == self.message.content {
            true => Ok(Appended::Repeat(original.clone())),
            false => Err(AppendError::Conflict),
        };
        self.answer(outcome);
    }

    fn refuse(self, reason: &'static str) {
        self.answer(Err(StorageError::unavailable(reason).into()));
    }
}

/// A failure that all senders of a batch are told.
#[derive(Clone)]
enum Failure {
    Unavailable(Shared),
    OutcomeUnknown(Shared),
}

impl Failure {
    fn unavailable(reason: impl Into<BoxError>) -> Self {
        Self::Unavailable(Shared(Arc::from(reason.into())))
    }

    fn to_error(&self) -> AppendError {
        let error = match self.clone() {
            Self::Unavailable(reason) => StorageError::unavailable(reason),
            Self::OutcomeUnknown(reason) => StorageError::outcome_unknown(reason),
        };
        error.into()
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unavailable(reason) => Self::Unavailable(Shared(Arc::from(reason))),
            StorageError::OutcomeUnknown(reason) => Self::OutcomeUnknown(Shared(Arc::from(reason))),
        }
    }
}

/// One error with many owners.
#[derive(Debug, Clone)]
struct Shared(Arc<dyn std::error::Error + Send + Sync>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
