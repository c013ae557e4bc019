//! One batch: stored, taken apart when it cannot be stored whole, and answered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use chat_domain::ports::Appended;
use chat_domain::{ClientMessageId, Message, MessageId, NewMessage, RoomId, Seq, UserId};

use super::{Answer, BATCH_DEADLINE, Failure, LockWait, NotStored, Store, Waiting};

/// How often a repeat is looked for whose original has just been deleted.
const ATTEMPTS: usize = 3;

/// What became of a batch.
#[derive(Default)]
pub(super) struct Outcome {
    /// What is stored, to be told to the senders. The others are told already.
    pub(super) stored: Vec<Stored>,
    /// Those whose rooms are locked, in their order, for another try; after a long wait
    /// they are refused instead.
    pub(super) left: Vec<Waiting>,
    /// The rooms that are locked.
    pub(super) locked: HashSet<RoomId>,
}

/// A message that is stored, and its sender.
pub(super) struct Stored {
    message: Message,
    answer: Answer,
}

impl Stored {
    pub(super) fn tell(self) {
        // A sender that is gone needs no answer.
        self.answer.send(Ok(Appended::Stored(self.message))).ok();
    }
}

/// Stores a batch.
pub(super) async fn write<S: Store>(store: &mut S, batch: Vec<Waiting>, wait: LockWait) -> Outcome {
    let began = Instant::now();
    let Outcome {
        stored: mut done,
        mut left,
        mut locked,
    } = Outcome::default();
    // What is still to be stored, the earliest last. A room's messages may be in
    // several parts, which are stored in their order.
    let mut parts = vec![Part::new(batch)];
    while let Some(mut part) = parts.pop() {
        if began.elapsed() > BATCH_DEADLINE {
            part.fail(&Failure::unavailable("the batch took too long"));
            continue;
        }
        match store.store(&part.messages(), wait).await {
            Ok(stored) => done.extend(part.stored(stored)),
            Err(NotStored::Repeat) => match store.originals(&part.messages()).await {
                Ok(originals) => parts.extend(part.without(&originals)),
                Err(error) => part.fail(&error.into()),
            },
            Err(NotStored::Row(reason)) if part.leads.len() == 1 => {
                part.fail(&Failure::unavailable(reason));
            }
            Err(NotStored::Row(_)) => {
                let second = part.split_off_half();
                parts.extend([second, part]);
            }
            Err(NotStored::Locked(rooms)) => {
                locked.extend(rooms);
                // Also from the parts that come later, for the order's sake.
                for part in parts.iter_mut().chain([&mut part]) {
                    left.extend(part.take_rooms(&locked));
                }
                parts.push(part);
            }
            Err(NotStored::All(error)) => {
                let failure = Failure::from(error);
                part.fail(&failure);
                // Nobody has tried to store the rest.
                let (Failure::Unavailable(reason) | Failure::OutcomeUnknown(reason)) = failure;
                let rest = Failure::Unavailable(reason);
                parts.drain(..).for_each(|part| part.fail(&rest));
            }
        }
        parts.retain(|part| !part.leads.is_empty());
    }
    left.sort_by_key(|waiting| waiting.since);
    if wait == LockWait::Long {
        for waiting in left.drain(..) {
            waiting.refuse("somebody else holds the room's lock");
        }
    }
    Outcome {
        stored: done,
        left,
        locked,
    }
}

/// Messages that are stored together.
struct Part {
    leads: Vec<Lead>,
    /// How often originals were looked for in vain.
    attempts: usize,
}

/// A message, and those in the same batch that repeat it.
struct Lead {
    first: Waiting,
    followers: Vec<Waiting>,
}

/// What makes two messages the same: room, author and the id picked for it.
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

    /// Those that lead are stored under these numbers; who follows one is told now that
    /// it is a repeat.
    fn stored(self, stored: Vec<(MessageId, Seq)>) -> impl Iterator<Item = Stored> {
        self.leads.into_iter().zip(stored).map(|(lead, (id, seq))| {
            let Waiting {
                message, answer, ..
            } = lead.first;
            let message = Arc::unwrap_or_clone(message).stored(id, seq);
            for follower in lead.followers {
                follower.repeats(&message);
            }
            Stored { message, answer }
        })
    }

    fn fail(self, failure: &Failure) {
        for waiting in self.leads.into_iter().flat_map(Lead::all) {
            waiting.answer(Err(failure.to_error()));
        }
    }

    /// Answers those whose originals were found; what is left is to be stored. None
    /// when that was tried often enough.
    fn without(mut self, originals: &[Message]) -> Option<Self> {
        let found: HashMap<Key<'_>, &Message> = originals
            .iter()
            .filter_map(|m| {
                let id = m.client_message_id.as_ref()?;
                Some(((m.room_id, &m.author.id, id), m))
            })
            .collect();
        let mut rest = Vec::with_capacity(self.leads.len());
        for lead in self.leads {
            let message = lead.first.message.clone();
            match key(&message).and_then(|key| found.get(&key)) {
                Some(original) => lead.all().for_each(|waiting| waiting.repeats(original)),
                None => rest.push(lead),
            }
        }
        self.leads = rest;
        if found.is_empty() {
            self.attempts += 1;
        }
        if self.attempts == ATTEMPTS {
            let reason = "the message's original comes and goes";
            self.fail(&Failure::unavailable(reason));
            return None;
        }
        Some(self)
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
    fn all(self) -> impl Iterator<Item = Waiting> {
        std::iter::once(self.first).chain(self.followers)
    }
}
