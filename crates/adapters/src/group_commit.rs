//! Combines many pending appends into one transaction, and many pending read marks into
//! another: the queues, the order, and the answers. How a batch is stored is up to the
//! database (see [`Store`]).
//!
//! **Why.** A commit waits for the disk, which completes a few hundred of them a second.
//! One transaction stores a hundred messages for the price of one: with 512 callers,
//! 24,900 messages a second instead of 2,900 on PostgreSQL (on one core), and 15,400
//! instead of 1,800 on SQLite.
//!
//! **When.** There is no timer. A message that arrives while nothing is being stored is
//! stored at once, if necessary alone; messages that arrive during a commit go into the
//! next batch. Batches therefore grow with the load, and a lone sender waits for one
//! commit.
//!
//! **Order.** An append takes its place in the queue in its first poll. All messages of a
//! room are in at most one batch at a time, in the queue's order except for turns of other
//! senders. A message that its sender sends later to a room is therefore numbered later,
//! even if a batch failed or its outcome is unknown.
//!
//! **Isolation.** A batch fails as a whole only if the database does.
//! - The same message twice in a batch: the later one repeats the earlier one.
//! - A repeat of a stored message: the unique key raises an error, the stored messages are
//!   looked up and answered, and the rest is stored in a second attempt. For
//!   [`REPEATS_EXPECTED_FOR`] after a repeat, batches look their ids up first, so that a
//!   client that resends constantly does not cost every batch its first attempt.
//! - A message decided by rules that have changed: it is answered, and the others are stored.
//!   If a batch holds several numbers of one room's rules, only the largest can be right.
//! - A row that cannot be stored: the batch is halved until the row is alone.
//! - A room that another transaction has locked: its messages are left behind, the others
//!   are stored, and the messages left behind wait on a lane of their own. Later batches do
//!   not contain the room until it is free again.
//! - A batch whose outcome is unknown: its senders are answered, and nothing else is stored
//!   in its rooms until it has certainly ended ([`Unsettled`]). What is sent to them
//!   meanwhile waits, and is refused if that cannot be determined.
//! - A batch that takes long for any other reason, such as its commit: after [`PATIENCE`],
//!   the messages of other rooms overtake it on another lane.
//!
//! **Read marks** have a queue, a task and a store of their own ([`marks`]), so that they
//! never delay a batch of messages; on SQLite, whose writer is shared, by one bounded batch
//! of marks at most.
//!
//! **Changes to messages** have a queue and a task, too, which combines those of a room
//! ([`changes`]).
//!
//! **Overload.** A message is refused at once if more messages wait than can be stored soon,
//! the heaviest senders' first ([`admission`]). If more wait than fit into a batch, their
//! senders take turns ([`turns`]): the messages of one sender stay in their order, and
//! those of a light sender overtake those of a heavy one.
//!
//! **Bounds.** At most [`QUEUE`] messages and as many marks wait, each for at most
//! [`QUEUE_DEADLINE`]; a batch has at most [`BATCH`] messages or pointers and
//! [`BATCH_BYTES`] of content. Whatever exceeds a bound is refused at once with
//! [`StorageError::Unavailable`].

mod admission;
mod batch;
mod changes;
mod committer;
mod error;
mod halves;
mod marks;
mod running_time;
mod settling;
mod turns;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chat_domain::ports::{AppendError, Appended, MarkedRead};
use chat_domain::{
    BoxError, Generation, Message, MessageChanges, MessageId, NewMessage, RoomId, Seq,
    StorageError, UserId,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use self::admission::{Admission, Place};
pub(crate) use self::changes::{ChangeOutcome, ChangeQueue, ChangeStore, Lanes};
use self::marks::PendingMark;

/// The maximum number of messages that wait to be stored, and of messages held back
/// because their rooms are being stored or are unavailable; also the maximum number of
/// pending read marks.
const QUEUE: usize = 10_000;
/// A message that has waited longer is refused instead of stored, so that its sender gets
/// an answer before it gives up. It is longer than a commit may take, behind which a
/// message may have waited, and than the locks of a commit that took too long are held.
const QUEUE_DEADLINE: Duration = Duration::from_secs(8);
/// The maximum number of messages, or of read pointers, in a batch.
const BATCH: usize = 512;
/// The maximum number of bytes of content and extras in a batch; the last message may exceed it.
const BATCH_BYTES: usize = 1 << 20;
/// How long one batch may keep all others waiting.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a batch is worked on before the rest of it is refused.
const BATCH_DEADLINE: Duration = Duration::from_secs(5);
/// How long after a repeat the ids of a batch are looked up before it is stored.
const REPEATS_EXPECTED_FOR: Duration = Duration::from_secs(5);

const CLOSED: &str = "the task that stores messages has ended";

/// What became of a message in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is stored, with this id and this position.
    Stored(MessageId, Seq),
    /// Another transaction has locked its room, so that none of the room's messages was stored.
    Locked,
    /// Its room's rules have another number, so that none of the room's messages was stored.
    RulesChanged,
}

/// Stores batches, one at a time.
pub(crate) trait Store: Send + 'static {
    /// Stores the messages in their order, with their authors' names and read pointers:
    /// all those whose rooms are free and have the rules by which they were decided, or
    /// nothing. No two of them are repeats of each other, and those of one room were decided
    /// by one number of rules. An empty batch stores nothing, and fails if the database would
    /// refuse any message.
    ///
    /// Returns the place of each message, in the order of the batch.
    fn store(
        &mut self,
        batch: &[Arc<NewMessage>],
    ) -> impl Future<Output = Result<Vec<Placed>, StoreError>> + Send;

    /// Stores messages that were left behind because their rooms were locked. In contrast
    /// to [`store`](Self::store), it waits for a short time if no room is free.
    fn store_left_behind(
        &mut self,
        batch: &[Arc<NewMessage>],
    ) -> impl Future<Output = Result<Vec<Placed>, StoreError>> + Send {
        self.store(batch)
    }

    /// Returns the last batch if its outcome is unknown and it may still be stored.
    fn take_unsettled(&mut self) -> Option<Arc<dyn Unsettled>> {
        None
    }

    /// Returns the stored messages that these would repeat, in any order, except for those in
    /// rooms whose rules have another number.
    fn originals(
        &mut self,
        batch: &[Arc<NewMessage>],
    ) -> impl Future<Output = Result<Vec<Message>, StorageError>> + Send;

    /// Moves read pointers forward: all or nothing. There is one mark at most for each
    /// pointer, and they are in ascending order. A pointer that is already as far is not
    /// written. Marks may be stored twice without harm, and are never a
    /// [`StoreError::Repeat`].
    ///
    /// Returns the result of each mark, in the order of the marks: `None` if the room is of
    /// another generation.
    fn mark(
        &mut self,
        marks: &[Mark],
    ) -> impl Future<Output = Result<Vec<Option<MarkedRead>>, StoreError>> + Send;
}

/// Observes the batches of messages.
pub trait BatchObserver: Send + Sync {
    /// Called when a batch has ended, with the number of messages that it has stored.
    fn stored(&self, messages: usize);

    /// Returns whether the callers of an append have spans, which are to be linked with that
    /// of their batch.
    fn has_spans(&self) -> bool;
}

/// The target of the spans of batches.
const TRACE_TARGET: &str = "chat_trace";

/// The observer, once there is one.
type Observed = Arc<OnceLock<Arc<dyn BatchObserver>>>;

/// A batch whose outcome is unknown.
#[async_trait]
pub(crate) trait Unsettled: Send + Sync {
    /// Waits until the batch is stored or can no longer be stored, for at most a few
    /// seconds.
    ///
    /// # Errors
    /// When that cannot be determined now.
    async fn settle(&self) -> Result<(), BoxError>;
}

/// Why a batch was not stored, or possibly not stored.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// A message repeats a stored one. Nothing was stored.
    Repeat,
    /// One of the rows is at fault, or may be. Nothing was stored; the other rows can be
    /// stored without it.
    Row(BoxError),
    /// The database failed. The error states whether the batch may have been stored.
    Whole(StorageError),
}

impl StoreError {
    pub(crate) fn row(reason: impl Into<BoxError>) -> Self {
        Self::Row(reason.into())
    }
}

/// A request to move a user's read pointer in a room to a position, or to the room's
/// newest position if that is smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) room_id: RoomId,
    pub(crate) generation: Generation,
    pub(crate) user_id: UserId,
    pub(crate) position: Seq,
}

/// Queues messages and read marks for the tasks that store them.
#[derive(Clone)]
pub(crate) struct GroupCommit {
    requests: mpsc::Sender<Request>,
    admission: Arc<Admission>,
    marks: mpsc::Sender<PendingMark>,
    observer: Observed,
}

impl GroupCommit {
    /// Starts the tasks: one stores messages in at most `lanes` stores, another moves read
    /// pointers in a store of its own. They end when the last clone of this value is
    /// dropped and all queued requests are answered.
    pub(crate) fn start<S: Store>(
        lanes: usize,
        open: impl Fn() -> S + Clone + Send + 'static,
    ) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        let admission = Arc::new(Admission::default());
        let observer = Observed::default();
        let committer = committer::Committer::new(
            queue,
            admission.clone(),
            lanes,
            open.clone(),
            observer.clone(),
        );
        tokio::spawn(committer.run());
        let (marks, queue) = mpsc::channel(QUEUE);
        tokio::spawn(marks::run(queue, open));
        Self {
            requests,
            admission,
            marks,
            observer,
        }
    }

    /// Sets what observes the batches. Only the first call has an effect.
    pub(crate) fn observe(&self, observer: Arc<dyn BatchObserver>) {
        self.observer.set(observer).ok();
    }

    /// Stores a message; see the port. The message takes its place in the first poll, and
    /// dropping the future later does not undo anything.
    pub(crate) async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        let place = self.admission.enter(&message.author.id);
        let (answer, outcome) = oneshot::channel();
        let has_spans = self
            .observer
            .get()
            .is_some_and(|observer| observer.has_spans());
        let waiting = Waiting {
            since: Instant::now(),
            span: match has_spans {
                true => Span::current(),
                false => Span::none(),
            },
            message: Arc::new(message),
            answer,
            place: Some(place.map_err(StorageError::unavailable)?),
        };
        let sent = self.requests.try_send(Request::Append(waiting));
        sent.map_err(|error| refused(&error, "too many messages are waiting to be stored"))?;
        // Without an answer, the task that stored the message has panicked in its middle.
        outcome
            .await
            .unwrap_or_else(|_| Err(StorageError::outcome_unknown(CLOSED).into()))
    }

    /// Moves a read pointer; see the port.
    pub(crate) async fn mark_read(&self, mark: Mark) -> Result<Option<MarkedRead>, StorageError> {
        let (answer, outcome) = oneshot::channel();
        let pending = PendingMark::new(mark, answer);
        let sent = self.marks.try_send(pending);
        sent.map_err(|error| refused(&error, "too many read marks are waiting to be stored"))?;
        outcome.await.unwrap_or_else(|_| {
            let reason = "the task that moves read pointers has ended";
            Err(StorageError::outcome_unknown(reason))
        })
    }

    /// Checks that a message would be stored now. The check takes the path of a message,
    /// up to a transaction without rows.
    pub(crate) async fn check_writable(&self) -> Result<(), StorageError> {
        let (answer, outcome) = oneshot::channel();
        let sent = self.requests.try_send(Request::Check(answer));
        sent.map_err(|error| refused(&error, "too many messages are waiting to be stored"))?;
        outcome
            .await
            .unwrap_or_else(|_| Err(StorageError::unavailable(CLOSED)))
    }

    /// Completes when one of the tasks has ended although this value still exists, with
    /// the task's name.
    pub(crate) async fn stopped(&self) -> &'static str {
        // A task owns the receiver of its queue, and drops it however it ends.
        tokio::select! {
            () = self.requests.closed() => "group commit of messages",
            () = self.marks.closed() => "group commit of read marks",
        }
    }
}

fn refused<T>(error: &TrySendError<T>, full: &'static str) -> StorageError {
    StorageError::unavailable(match error {
        TrySendError::Full(_) => full,
        TrySendError::Closed(_) => CLOSED,
    })
}

/// What the task that stores messages is asked to do.
enum Request {
    Append(Waiting),
    Check(Check),
}

/// Takes the answer to the question whether a message would be stored now.
type Check = oneshot::Sender<Result<(), StorageError>>;

/// A message that waits to be stored, and the way to answer its sender.
struct Waiting {
    since: Instant,
    /// The span of its sender's event, if there is one.
    span: Span,
    message: Arc<NewMessage>,
    answer: Answer,
    /// Until it is in a batch.
    place: Option<Place>,
}

type Answer = oneshot::Sender<Result<Appended, AppendError>>;

impl Waiting {
    fn room_id(&self) -> RoomId {
        self.message.room_id
    }

    /// Makes room for another message to wait.
    fn admitted(mut self) -> Self {
        drop(self.place.take());
        self
    }

    fn answer(self, outcome: Result<Appended, AppendError>) {
        // The sender may have stopped waiting.
        self.answer.send(outcome).ok();
    }

    /// Answers that the message repeats the original, or conflicts with it. What was sent
    /// originally is not known of an original that has changed since: it is taken as the same.
    fn answer_repeat(self, original: &Message) {
        let changes = original.changes.as_deref();
        let is_same = changes.is_some_and(MessageChanges::replaced_content)
            || (original.content == self.message.content && original.extras == self.message.extras);
        let outcome = match is_same {
            true => Ok(Appended::Repeat(original.clone())),
            false => Err(AppendError::Conflict),
        };
        self.answer(outcome);
    }

    fn refuse(self, reason: &'static str) {
        self.answer(Err(StorageError::unavailable(reason).into()));
    }
}

#[cfg(test)]
mod tests;
