//! Stores one batch, takes it apart if it cannot be stored as a whole, and answers its
//! senders.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use chat_domain::ports::{AppendError, Appended};
use chat_domain::{
    ClientMessageId, Message, MessageId, NewMessage, RoomId, RulesNumber, Seq, StorageError, UserId,
};
use tracing::Span;

use super::admission::Admission;
use super::error::BatchError;
use super::{
    Answer, BATCH_DEADLINE, Check, Placed, Store, StoreError, TRACE_TARGET, Unsettled, Waiting,
};

/// How often a repeat is looked up whose original is being deleted meanwhile.
const ATTEMPTS: usize = 3;

/// What a batch consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Messages of rooms that are expected to be free. The other messages wait while the
    /// batch is being stored.
    Regular,
    /// Messages that a regular batch left behind.
    LeftBehind,
}

/// Whether the messages of a batch are expected to repeat stored ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    Unexpected,
    /// Their ids are looked up before they are stored.
    Expected,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Outcome {
    /// The stored messages, whose senders are to be answered. The senders of all others
    /// are already answered, except for those left behind.
    pub(super) stored: Vec<Stored>,
    /// The messages of locked rooms, in their order, for another attempt.
    pub(super) left_behind: Vec<Waiting>,
    /// The rooms that another transaction had locked.
    pub(super) locked: HashSet<RoomId>,
    /// The rooms whose messages may still be stored although their senders are answered.
    pub(super) unsettled: Option<(HashSet<RoomId>, Arc<dyn Unsettled>)>,
    /// The number of messages that repeated a stored one.
    pub(super) repeats: usize,
}

/// A stored message, and the way to answer its sender.
pub(super) struct Stored {
    message: Message,
    answer: Answer,
}

impl Stored {
    pub(super) fn answer(self) {
        // The sender may have stopped waiting.
        self.answer.send(Ok(Appended::Stored(self.message))).ok();
    }
}

/// Returns the span of a batch, linked from those of its messages; none if they have none.
pub(super) fn span(batch: &[Waiting]) -> Span {
    if batch.iter().all(|waiting| waiting.span.is_none()) {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TRACE_TARGET,
        parent: None,
        "batch",
        chat.messages = batch.len(),
    );
    for waiting in batch {
        waiting.span.follows_from(&span);
    }
    span
}

/// Stores a batch.
pub(super) async fn write<S: Store>(
    store: &mut S,
    admission: &Admission,
    mut batch: Vec<Waiting>,
    kind: Kind,
    repeats: Repeats,
) -> Outcome {
    answer_outdated(&mut batch);
    let mut writing = Writing {
        began: Instant::now(),
        kind,
        parts: vec![Part::new(batch)],
        outcome: Outcome::default(),
    };
    if repeats == Repeats::Expected {
        writing.answer_known_repeats(store).await;
    }
    while let Some(part) = writing.next_part() {
        writing.store(store, admission, part).await;
    }
    writing.outcome.left_behind.sort_by_key(|w| w.since);
    writing.outcome
}

/// Answers the messages that were decided by a smaller number of their room's rules than
/// another one. The larger number was read from the database.
fn answer_outdated(batch: &mut Vec<Waiting>) {
    let mut pairs = batch.windows(2);
    if pairs.all(|pair| pair[0].message.rules == pair[1].message.rules) {
        return;
    }
    let mut newest: HashMap<RoomId, RulesNumber> = HashMap::new();
    for waiting in &*batch {
        let rules = newest.entry(waiting.room_id()).or_default();
        *rules = waiting.message.rules.max(*rules);
    }
    let is_outdated = |w: &mut Waiting| newest.get(&w.room_id()) > Some(&w.message.rules);
    let outdated = batch.extract_if(.., is_outdated);
    outdated.for_each(Waiting::answer_rules_changed);
}

/// Answers whether a message would be stored now, after a batch with this outcome.
pub(super) async fn answer_checks<S: Store>(store: &mut S, outcome: &Outcome, checks: Vec<Check>) {
    if checks.is_empty() {
        return;
    }
    // Nothing proves it better than a message that was just stored.
    let writable = match outcome.stored.is_empty() {
        true => check_writable(store).await,
        false => Ok(()),
    };
    for check in checks {
        let answer = writable.as_ref().copied();
        // The caller may have stopped waiting.
        check
            .send(answer.map_err(BatchError::to_storage_error))
            .ok();
    }
}

async fn check_writable<S: Store>(store: &mut S) -> Result<(), BatchError> {
    match store.store(&[]).await {
        Ok(_) | Err(StoreError::Repeat) => Ok(()),
        Err(StoreError::Row(reason)) => Err(BatchError::unavailable(reason)),
        Err(StoreError::Whole(error)) => Err(BatchError::from(error).for_untried()),
    }
}

/// A batch that is being stored.
struct Writing {
    began: Instant,
    kind: Kind,
    /// What is still to be stored, the earliest last. The messages of a room may be in
    /// several parts, which are stored in their order.
    parts: Vec<Part>,
    outcome: Outcome,
}

impl Writing {
    fn next_part(&mut self) -> Option<Part> {
        loop {
            let part = self.parts.pop()?;
            if part.leads.is_empty() {
                continue;
            }
            if self.began.elapsed() <= BATCH_DEADLINE {
                return Some(part);
            }
            part.fail(&BatchError::unavailable("the batch took too long"));
        }
    }

    /// Answers the messages that are already stored, without an attempt to store them.
    async fn answer_known_repeats<S: Store>(&mut self, store: &mut S) {
        for part in std::mem::take(&mut self.parts) {
            if !part.has_ids() {
                self.parts.push(part);
                continue;
            }
            match store.originals(&part.messages()).await {
                Ok(originals) => {
                    let (rest, repeats) = part.without(&originals);
                    self.outcome.repeats += repeats;
                    self.parts.push(rest);
                }
                // Storing the messages finds out whose original it is.
                Err(StorageError::Corrupt(_)) => self.parts.push(part),
                Err(error) => part.fail(&error.into()),
            }
        }
    }

    async fn store<S: Store>(&mut self, store: &mut S, admission: &Admission, part: Part) {
        let stored = match self.kind {
            Kind::Regular => store.store(&part.messages()).await,
            Kind::LeftBehind => store.store_left_behind(&part.messages()).await,
        };
        // Before the sender gets its answer, because it may try again at once.
        admission.resume();
        match stored {
            Ok(places) => self.stored(part, places),
            Err(StoreError::Repeat) => match store.originals(&part.messages()).await {
                Ok(originals) => self.repeat(part, &originals),
                // One of the originals; the other messages are not affected.
                Err(StorageError::Corrupt(_)) if part.leads.len() > 1 => self.halve(part),
                Err(error) => part.fail(&error.into()),
            },
            Err(StoreError::Row(reason)) if part.leads.len() == 1 => {
                part.fail(&BatchError::unavailable(reason));
            }
            Err(StoreError::Row(_)) => self.halve(part),
            Err(StoreError::Whole(error)) => {
                if let Some(unsettled) = store.take_unsettled() {
                    self.outcome.unsettled = Some((part.rooms(), unsettled));
                }
                let error = BatchError::from(error);
                part.fail(&error);
                // The rest was not tried, whatever happened to this part.
                let error = error.for_untried();
                self.parts.drain(..).for_each(|part| part.fail(&error));
            }
        }
    }

    /// Keeps what was stored, answers what was decided by other rules, and leaves the messages
    /// of locked rooms behind: also those in later parts, so that a room's messages keep their
    /// order.
    fn stored(&mut self, part: Part, places: Vec<Placed>) {
        let before = self.outcome.locked.len();
        for (lead, place) in part.leads.into_iter().zip(places) {
            match place {
                Placed::Stored(id, seq) => self.outcome.stored.push(lead.stored(id, seq)),
                Placed::RulesChanged => lead.all().for_each(Waiting::answer_rules_changed),
                Placed::Locked => {
                    self.outcome.locked.insert(lead.first.room_id());
                    self.outcome.left_behind.extend(lead.all());
                }
            }
        }
        if self.outcome.locked.len() > before {
            for part in &mut self.parts {
                let left_behind = part.take_rooms(&self.outcome.locked);
                self.outcome.left_behind.extend(left_behind);
            }
        }
    }

    /// Stores the halves of a part on their own, because one of its messages is at fault.
    fn halve(&mut self, mut part: Part) {
        let second = part.split_off_half();
        self.parts.extend([second, part]);
    }

    /// Answers the repeats in a part, and keeps the rest of it to be stored.
    fn repeat(&mut self, part: Part, originals: &[Message]) {
        let (mut rest, repeats) = part.without(originals);
        self.outcome.repeats += repeats;
        if repeats == 0 {
            rest.attempts += 1;
        }
        if rest.attempts < ATTEMPTS {
            self.parts.push(rest);
        } else {
            let reason = "the original of a repeated message appears and disappears";
            rest.fail(&BatchError::unavailable(reason));
        }
    }
}

/// Messages that are stored together.
struct Part {
    leads: Vec<Lead>,
    /// How often originals were looked up and not found.
    attempts: usize,
}

/// A message, and those in the same batch that repeat it.
struct Lead {
    first: Waiting,
    followers: Vec<Waiting>,
}

/// What makes two messages the same: the room, the author and the client's id.
type Key<'a> = (RoomId, &'a UserId, &'a ClientMessageId);

fn key(message: &NewMessage) -> Option<Key<'_>> {
    let id = message.client_message_id.as_ref()?;
    Some((message.room_id, &message.author.id, id))
}

impl Part {
    fn new(batch: Vec<Waiting>) -> Self {
        let messages: Vec<_> = batch.iter().map(|w| w.message.clone()).collect();
        let mut places = HashMap::new();
        let mut leads: Vec<Lead> = Vec::with_capacity(batch.len());
        for (waiting, message) in batch.into_iter().zip(&messages) {
            let place = key(message).map(|key| *places.entry(key).or_insert(leads.len()));
            match place.and_then(|place| leads.get_mut(place)) {
                Some(lead) => lead.followers.push(waiting),
                None => leads.push(Lead {
                    first: waiting,
                    followers: Vec::new(),
                }),
            }
        }
        Self { leads, attempts: 0 }
    }

    fn messages(&self) -> Vec<Arc<NewMessage>> {
        self.leads.iter().map(|l| l.first.message.clone()).collect()
    }

    fn has_ids(&self) -> bool {
        let mut messages = self.leads.iter().map(|lead| &lead.first.message);
        messages.any(|message| message.client_message_id.is_some())
    }

    fn rooms(&self) -> HashSet<RoomId> {
        self.leads.iter().map(|lead| lead.first.room_id()).collect()
    }

    fn fail(self, error: &BatchError) {
        for waiting in self.leads.into_iter().flat_map(Lead::all) {
            waiting.fail(error);
        }
    }

    /// Answers the messages that repeat one of the originals. Returns the rest, and the
    /// number of messages that were answered.
    fn without(self, originals: &[Message]) -> (Self, usize) {
        let found: HashMap<Key<'_>, &Message> = originals
            .iter()
            .filter_map(|m| {
                let id = m.client_message_id.as_ref()?;
                Some(((m.room_id, &m.author.id, id), m))
            })
            .collect();
        let before = self.leads.len();
        let mut leads = Vec::with_capacity(before);
        for lead in self.leads {
            let message = lead.first.message.clone();
            match key(&message).and_then(|key| found.get(&key)) {
                Some(original) => lead.all().for_each(|w| w.answer_repeat(original)),
                None => leads.push(lead),
            }
        }
        let repeats = before - leads.len();
        let rest = Self {
            leads,
            attempts: self.attempts,
        };
        (rest, repeats)
    }

    fn split_off_half(&mut self) -> Self {
        Self {
            leads: self.leads.split_off(self.leads.len() / 2),
            attempts: self.attempts,
        }
    }

    fn take_rooms(&mut self, rooms: &HashSet<RoomId>) -> impl Iterator<Item = Waiting> {
        let taken = self
            .leads
            .extract_if(.., |lead| rooms.contains(&lead.first.room_id()));
        taken.flat_map(Lead::all)
    }
}

impl Lead {
    /// Returns the stored message; answers those that repeat it.
    fn stored(self, id: MessageId, seq: Seq) -> Stored {
        let Waiting {
            message, answer, ..
        } = self.first;
        let message = Arc::unwrap_or_clone(message).stored(id, seq);
        for follower in self.followers {
            follower.answer_repeat(&message);
        }
        Stored { message, answer }
    }

    fn all(self) -> impl Iterator<Item = Waiting> {
        std::iter::once(self.first).chain(self.followers)
    }
}

impl Waiting {
    fn answer_rules_changed(self) {
        self.answer(Err(AppendError::RulesChanged));
    }

    fn fail(self, error: &BatchError) {
        let error: StorageError = error.to_storage_error();
        self.answer(Err(error.into()));
    }
}
