//! Logs storage outages: a line when one begins, at most one per second while it lasts,
//! and a line when it ends.
//!
//! During an outage every event of every client fails. Logging each of them would hide
//! everything else, so [`watch`] puts a [`StorageWatch`] between the use cases and the
//! repositories, which observes the outcomes and is the only place that logs them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    AppendError, Appended, ChangeRepository, Changes, LogCursor, LogPage, MarkedRead,
    MessageRepository, ReadLimit, RoomPosition, RoomRepository,
};
use chat_domain::{Generation, NewMessage, RoomId, RoomState, Seq, StorageError, UserId, one_line};
use tokio::time::Instant;

mod changes;

use self::changes::ChangesWatch;
use crate::lock;
use crate::metrics::Metrics;

/// The minimum time between two lines of a lasting outage.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// How long operations must succeed without a failure until an outage has ended.
const RECOVERY: Duration = Duration::from_secs(1);

/// Repositories whose outages are logged together.
pub(crate) struct Repositories {
    pub(crate) messages: Arc<dyn MessageRepository>,
    pub(crate) changes: Arc<dyn ChangeRepository>,
    pub(crate) rooms: Arc<dyn RoomRepository>,
}

/// Returns repositories that do what these do, log their outages and count their failures.
pub(crate) fn watch(repositories: Repositories, metrics: Arc<Metrics>) -> Repositories {
    let outages = Arc::new(Outages::new(metrics));
    let changes = ChangesWatch::new(repositories.changes, outages.clone());
    let watch = Arc::new(StorageWatch {
        messages: repositories.messages,
        rooms: repositories.rooms,
        outages,
    });
    Repositories {
        messages: watch.clone(),
        changes: Arc::new(changes),
        rooms: watch,
    }
}

/// Repositories that observe the outcomes of others.
struct StorageWatch {
    messages: Arc<dyn MessageRepository>,
    rooms: Arc<dyn RoomRepository>,
    outages: Arc<Outages>,
}

#[async_trait]
impl MessageRepository for StorageWatch {
    async fn append(&self, message: NewMessage) -> Result<Appended, AppendError> {
        let result = self.messages.append(message).await;
        let failure = match &result {
            Err(AppendError::Storage(error)) => Some(error),
            Err(AppendError::Conflict | AppendError::RulesChanged) | Ok(_) => None,
        };
        self.outages.observe(Operation::Write, failure);
        result
    }

    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        let result = self.messages.after(room_id, position, limit).await;
        self.outages.observe(Operation::Read, result.as_ref().err());
        result
    }

    async fn before(
        &self,
        room_id: RoomId,
        position: Option<Seq>,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        let result = self.messages.before(room_id, position, limit).await;
        self.outages.observe(Operation::Read, result.as_ref().err());
        result
    }
}

#[async_trait]
impl RoomRepository for StorageWatch {
    async fn newest(&self, rooms: &[RoomId]) -> Result<Vec<RoomPosition>, StorageError> {
        let result = self.rooms.newest(rooms).await;
        self.outages.observe(Operation::Read, result.as_ref().err());
        result
    }

    async fn changed_since(&self, cursor: Option<LogCursor>) -> Result<Changes, StorageError> {
        let result = self.rooms.changed_since(cursor).await;
        self.outages.observe(Operation::Read, result.as_ref().err());
        result
    }

    async fn read_state(
        &self,
        room_id: RoomId,
        user_id: &UserId,
    ) -> Result<RoomState, StorageError> {
        let result = self.rooms.read_state(room_id, user_id).await;
        self.outages.observe(Operation::Read, result.as_ref().err());
        result
    }

    async fn mark_read(
        &self,
        room_id: RoomId,
        generation: Generation,
        user_id: &UserId,
        position: Seq,
    ) -> Result<Option<MarkedRead>, StorageError> {
        let marked = self.rooms.mark_read(room_id, generation, user_id, position);
        let result = marked.await;
        self.outages
            .observe(Operation::Write, result.as_ref().err());
        result
    }
}

/// What an operation does to storage. A full disk refuses writes and serves reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
}

/// A kind of outage. Each begins and ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ReadUnavailable,
    WriteUnavailable,
    WriteOutcomeUnknown,
    /// What is read is not valid, also by an operation that writes.
    Corrupt,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [
        Self::ReadUnavailable,
        Self::WriteUnavailable,
        Self::WriteOutcomeUnknown,
        Self::Corrupt,
    ];

    fn of(operation: Operation, error: &StorageError) -> Self {
        match (operation, error) {
            (_, StorageError::Corrupt(_)) => Self::Corrupt,
            (Operation::Read, _) => Self::ReadUnavailable,
            (Operation::Write, StorageError::Unavailable(_)) => Self::WriteUnavailable,
            (Operation::Write, StorageError::OutcomeUnknown(_)) => Self::WriteOutcomeUnknown,
        }
    }

    fn operation(self) -> Operation {
        match self {
            Self::ReadUnavailable | Self::Corrupt => Operation::Read,
            Self::WriteUnavailable | Self::WriteOutcomeUnknown => Operation::Write,
        }
    }

    /// Returns the kind as log lines name it.
    fn name(self) -> &'static str {
        match self {
            Self::ReadUnavailable => "reads unavailable",
            Self::WriteUnavailable => "writes unavailable",
            Self::WriteOutcomeUnknown => "outcome of writes unknown",
            Self::Corrupt => "stored data not valid",
        }
    }
}

/// The current outages.
struct Outages {
    metrics: Arc<Metrics>,
    by_kind: Mutex<[Option<Outage>; Kind::ALL.len()]>,
    /// Whether there is an outage: while there is none, a success costs one load.
    is_any: AtomicBool,
}

/// An outage that has not ended yet.
struct Outage {
    began: Instant,
    failures: u64,
    /// The failures since the last line.
    unlogged: u64,
    last_line: Instant,
    last_failure: Instant,
    /// The first success since the last failure.
    first_success: Option<Instant>,
}

impl Outages {
    fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            by_kind: Mutex::default(),
            is_any: AtomicBool::new(false),
        }
    }

    /// Notes the outcome of an operation, and logs what has changed.
    fn observe(&self, operation: Operation, failure: Option<&StorageError>) {
        if failure.is_none() && !self.is_any.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        let mut by_kind = lock(&self.by_kind);
        // Any operation may be the first to see that an outage is over.
        for (kind, outage) in Kind::ALL.into_iter().zip(by_kind.iter_mut()) {
            if failure.is_none() && kind.operation() == operation {
                succeeded(outage, now);
            }
            end_if_recovered(kind, outage, now);
        }
        if let Some(error) = failure {
            let kind = Kind::of(operation, error);
            self.metrics.storage_failure(kind);
            failed(kind, &mut by_kind[kind as usize], error, now);
        }
        let is_any = by_kind.iter().any(Option::is_some);
        self.is_any.store(is_any, Ordering::Relaxed);
    }
}

fn succeeded(outage: &mut Option<Outage>, now: Instant) {
    if let Some(outage) = outage {
        outage.first_success.get_or_insert(now);
    }
}

/// Ends an outage after a success, if the last failure was long enough ago: an operation
/// that succeeds beside others that fail does not end it.
fn end_if_recovered(kind: Kind, outage: &mut Option<Outage>, now: Instant) {
    let ended = outage
        .take_if(|outage| outage.first_success.is_some() && now - outage.last_failure >= RECOVERY);
    if let Some(outage) = ended {
        let recovered = outage.first_success.unwrap_or(now);
        tracing::info!(
            kind = kind.name(),
            failures = outage.failures,
            duration_ms = (recovered - outage.began).as_millis() as u64,
            "storage outage ended"
        );
    }
}

fn failed(kind: Kind, outage: &mut Option<Outage>, error: &StorageError, now: Instant) {
    let Some(outage) = outage else {
        tracing::warn!(
            kind = kind.name(),
            error = %one_line(error),
            "storage outage began"
        );
        *outage = Some(Outage {
            began: now,
            failures: 1,
            unlogged: 0,
            last_line: now,
            last_failure: now,
            first_success: None,
        });
        return;
    };
    outage.failures += 1;
    outage.unlogged += 1;
    outage.last_failure = now;
    outage.first_success = None;
    if now - outage.last_line >= LINE_INTERVAL {
        tracing::warn!(
            kind = kind.name(),
            failures = outage.unlogged,
            error = %one_line(error),
            "storage outage continues"
        );
        outage.unlogged = 0;
        outage.last_line = now;
    }
}

#[cfg(test)]
mod tests;
