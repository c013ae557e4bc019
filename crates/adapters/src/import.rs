//! Stores messages of one room in their order, batch by batch, on a store of its own: beside group
//! commit, which stores what is sent one by one. For the database, it is what another node would be:
//! the room's counter, which both lock, assigns the numbers.
//!
//! **Order.** A batch is stored as a whole, or divided: what repeats a stored message is left out,
//! and what comes after a message that cannot be stored is not stored.
//!
//! **Bounds.** Imports take turns, batch by batch. A caller has one batch in progress, so at most
//! one batch of each import waits.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chat_domain::ports::{AppendError, ImportFailure, Imported};
use chat_domain::{ClientMessageId, Message, NewMessage, Seq, StorageError, UserId};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::group_commit::{BatchObserver, Placed, Store, StoreError};

/// How often a room that another transaction has locked is tried again, and after what pause.
const LOCKED_ATTEMPTS: usize = 20;
const LOCKED_PAUSE: Duration = Duration::from_millis(50);
/// How often originals are looked up that appear and disappear.
const REPEAT_ATTEMPTS: usize = 3;

/// Stores the batches of imports, one at a time.
pub(crate) struct Importer<S> {
    store: Arc<Mutex<S>>,
    observer: Arc<OnceLock<Arc<dyn BatchObserver>>>,
}

impl<S> Clone for Importer<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            observer: self.observer.clone(),
        }
    }
}

impl<S: Store> Importer<S> {
    pub(crate) fn new(store: S) -> Self {
        Self {
            store: Arc::new(Mutex::new(store)),
            observer: Arc::default(),
        }
    }

    /// Sets what observes the batches. Only the first call has an effect.
    pub(crate) fn observe(&self, observer: Arc<dyn BatchObserver>) {
        self.observer.set(observer).ok();
    }

    /// Stores messages; see the port.
    pub(crate) async fn import(&self, messages: Vec<NewMessage>, newest: Seq) -> Imported {
        let Self { store, observer } = self.clone();
        // A store must not be dropped in the middle of a batch.
        let importing = tokio::spawn(async move {
            let mut store = store.lock().await;
            let imported = import(&mut *store, messages, newest).await;
            if let Some(observer) = observer.get().filter(|_| !imported.stored.is_empty()) {
                observer.stored(imported.stored.len());
            }
            imported
        });
        importing
            .await
            .unwrap_or_else(|error| failed(StorageError::outcome_unknown(error).into()))
    }
}

fn failed(error: AppendError) -> Imported {
    Imported {
        stored: Vec::new(),
        repeated: 0,
        failed: Some(error.into()),
    }
}

/// What the messages of a batch are, in their order.
enum Line {
    /// To be stored.
    New(Arc<NewMessage>),
    /// The same as one before it.
    Again,
    /// It is stored already.
    Known,
}

async fn import<S: Store>(store: &mut S, messages: Vec<NewMessage>, newest: Seq) -> Imported {
    let messages: Vec<_> = messages.into_iter().map(Arc::new).collect();
    let (mut lines, mut refused) = distinguish(&messages);
    for _ in 0..REPEAT_ATTEMPTS {
        if let Some(at) = unknown_reply(&lines, newest) {
            lines.truncate(at);
            refused = Some(ImportFailure::UnknownReplyTo);
        }
        let new: Vec<_> = lines.iter().filter_map(Line::new_message).collect();
        match store_all(store, &new).await {
            Ok(stored) => {
                return Imported {
                    repeated: lines.len() - stored.len(),
                    stored,
                    failed: refused,
                };
            }
            Err(Failed::Batch(error)) => return failed(error),
            Err(Failed::Row) => return one_by_one(store, lines, newest, refused).await,
            Err(Failed::Repeat) => match store.originals(&new).await {
                Ok(originals) => {
                    if let Some(at) = leave_out(&mut lines, &originals) {
                        lines.truncate(at);
                        refused = Some(AppendError::Conflict.into());
                    }
                }
                Err(error) => return failed(error.into()),
            },
        }
    }
    let reason = "the original of a repeated message appears and disappears";
    failed(StorageError::unavailable(reason).into())
}

impl Line {
    fn new_message(&self) -> Option<Arc<NewMessage>> {
        match self {
            Self::New(message) => Some(message.clone()),
            Self::Again | Self::Known => None,
        }
    }
}

/// Returns the first line that replies to a message that may not be earlier: the new lines before
/// it get numbers from after `newest` on.
fn unknown_reply(lines: &[Line], newest: Seq) -> Option<usize> {
    let mut reached = newest.get();
    lines.iter().position(|line| {
        let Line::New(message) = line else {
            return false;
        };
        let reply_to = message.extras.as_ref().and_then(|extras| extras.reply_to);
        let is_unknown = reply_to.is_some_and(|seq| seq.get() > reached);
        reached += 1;
        is_unknown
    })
}

type Key<'a> = (&'a UserId, &'a ClientMessageId);

fn key(message: &NewMessage) -> Option<Key<'_>> {
    let id = message.client_message_id.as_ref()?;
    Some((&message.author.id, id))
}

/// Finds out which messages repeat earlier ones. The lines end before one that conflicts with an
/// earlier one.
fn distinguish(messages: &[Arc<NewMessage>]) -> (Vec<Line>, Option<ImportFailure>) {
    let mut first = HashMap::new();
    let mut lines = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        let earlier = key(message).map(|key| *first.entry(key).or_insert(at));
        match earlier.filter(|earlier| *earlier < at) {
            None => lines.push(Line::New(message.clone())),
            Some(earlier) if is_same(&messages[earlier], message) => {
                lines.push(Line::Again);
            }
            Some(_) => return (lines, Some(AppendError::Conflict.into())),
        }
    }
    (lines, None)
}

fn is_same(one: &NewMessage, other: &NewMessage) -> bool {
    one.content == other.content && one.extras == other.extras
}

/// Marks the messages that are stored already. Returns the first that conflicts with a stored one.
/// What was sent originally is not known of a message that has changed since: it is taken as the
/// same.
fn leave_out(lines: &mut [Line], originals: &[Message]) -> Option<usize> {
    let found: HashMap<Key<'_>, &Message> = originals
        .iter()
        .filter_map(|m| Some(((&m.author.id, m.client_message_id.as_ref()?), m)))
        .collect();
    for (at, line) in lines.iter_mut().enumerate() {
        let Line::New(message) = line else { continue };
        let Some(original) = key(message).and_then(|key| found.get(&key)) else {
            continue;
        };
        let is_same = original.changes.is_some()
            || (original.content == message.content && original.extras == message.extras);
        if !is_same {
            return Some(at);
        }
        *line = Line::Known;
    }
    None
}

/// Why no message of a batch was stored.
enum Failed {
    /// One of them repeats a stored one.
    Repeat,
    /// One of them may be at fault.
    Row,
    Batch(AppendError),
}

async fn store_all<S: Store>(
    store: &mut S,
    batch: &[Arc<NewMessage>],
) -> Result<Vec<Message>, Failed> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    for _ in 0..LOCKED_ATTEMPTS {
        let places = match store.store(batch).await {
            Ok(places) => places,
            Err(StoreError::Repeat) => return Err(Failed::Repeat),
            Err(StoreError::Row(reason)) if batch.len() == 1 => {
                return Err(Failed::Batch(StorageError::unavailable(reason).into()));
            }
            Err(StoreError::Row(_)) => return Err(Failed::Row),
            Err(StoreError::Whole(error)) => {
                // Until it has certainly ended, what follows could be stored before it.
                if let Some(unsettled) = store.take_unsettled() {
                    unsettled.settle().await.ok();
                }
                return Err(Failed::Batch(error.into()));
            }
        };
        // All messages are of one room.
        match places.first() {
            Some(Placed::RulesChanged) => return Err(Failed::Batch(AppendError::RulesChanged)),
            Some(Placed::Locked) | None => sleep(LOCKED_PAUSE).await,
            Some(Placed::Stored(..)) => {
                let placed = batch.iter().zip(places);
                let stored = placed.filter_map(|(message, place)| match place {
                    Placed::Stored(id, seq) => Some(NewMessage::clone(message).stored(id, seq)),
                    Placed::Locked | Placed::RulesChanged => None,
                });
                return Ok(stored.collect());
            }
        }
    }
    let locked = StorageError::unavailable("another transaction has locked the room");
    Err(Failed::Batch(locked.into()))
}

/// Stores messages one after the other, up to the one that is at fault.
async fn one_by_one<S: Store>(
    store: &mut S,
    lines: Vec<Line>,
    mut newest: Seq,
    refused: Option<ImportFailure>,
) -> Imported {
    let mut imported = Imported {
        stored: Vec::new(),
        repeated: 0,
        failed: None,
    };
    for line in lines {
        // A line before it may have turned out to be a repeat.
        if unknown_reply(std::slice::from_ref(&line), newest).is_some() {
            imported.failed = Some(ImportFailure::UnknownReplyTo);
            return imported;
        }
        let Line::New(message) = line else {
            imported.repeated += 1;
            continue;
        };
        let one = [message];
        let failed = match store_all(store, &one).await {
            Ok(stored) => {
                newest = stored.last().map_or(newest, |message| message.seq);
                imported.stored.extend(stored);
                continue;
            }
            Err(Failed::Batch(error)) => error,
            Err(Failed::Repeat | Failed::Row) => match store.originals(&one).await {
                Ok(originals) => {
                    let mut line = [Line::New(one[0].clone())];
                    if !originals.is_empty() && leave_out(&mut line, &originals).is_none() {
                        imported.repeated += 1;
                        continue;
                    }
                    AppendError::Conflict
                }
                Err(error) => error.into(),
            },
        };
        imported.failed = Some(failed.into());
        return imported;
    }
    imported.failed = refused;
    imported
}
