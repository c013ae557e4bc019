//! Looking at summaries, and telling connections what is new.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_domain::{MemberView, RoomId, RoomOverview, StorageError, UserId, one_line};
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until};

use super::batch::Batch;
use super::loading::{consistent, entry};
use super::registry::{Connection, Loaded, Millis, Registry, UserKey};
use super::{RemovalReason, SummaryEvent, Watchers};
use crate::lock;
use crate::recipient::{LiveGive, Recipient};

/// How many users are given a summary under one lock, before other tasks have their turn.
const TURN: usize = 64;
/// About how many rooms a connection is told when it can take more.
const OWED_AT_ONCE: usize = 32;
/// How many connections that have begun to watch are compared under one lock.
const FRESH_AT_ONCE: usize = 16;
/// After how long what could not be read is read again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// What was read of a room.
struct Room {
    overview: RoomOverview,
    shared: Box<str>,
    fingerprint: u64,
}

/// What was found out about a user and a room.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    Member(&'a Room, MemberView),
    Gone(RemovalReason),
}

impl<R: Recipient> Watchers<R> {
    /// Tells connections what is new in the summaries that they watch. Runs until it is
    /// dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            while self.compare_fresh() {
                yield_now().await;
            }
            let now = self.millis();
            let (batch, next) = {
                let mut registry = lock(&self.registry);
                let batch = registry.take_batch(now);
                (batch, registry.work.next(now))
            };
            if !batch.pairs.is_empty() {
                self.look_at_all(batch).await;
                yield_now().await;
                continue;
            }
            let due = next.map(|due| Duration::from_millis(due.saturating_sub(now)));
            match due {
                Some(Duration::ZERO) => yield_now().await,
                Some(due) => {
                    let due = sleep_until(tokio::time::Instant::now() + due);
                    tokio::select! {
                        () = self.has_work.notified() => {}
                        () = due => {}
                    }
                }
                None => self.has_work.notified().await,
            }
        }
    }

    /// Finds out what connections have to be told that have begun to watch. Returns whether there
    /// may be more of them.
    fn compare_fresh(&self) -> bool {
        let mut registry = lock(&self.registry);
        let compared = registry.take_fresh(FRESH_AT_ONCE);
        for id in &compared {
            let user = registry.user_of(*id).into_iter();
            let watching = user.flat_map(|user| &mut user.connections);
            watching
                .filter(|watching| watching.id == *id)
                .for_each(|watching| self.resume_when_possible(watching));
        }
        !compared.is_empty()
    }

    /// Starts a task that continues with what the connection is owed when it can take more.
    pub(super) fn resume_when_possible(&self, watching: &mut Connection<R>) {
        if watching.owed.is_empty() || watching.is_waiting {
            return;
        }
        let Some(this) = self.this.upgrade() else {
            return;
        };
        watching.is_waiting = true;
        let recipient = watching.recipient.clone();
        self.tasks.spawn(async move {
            // One that is gone is about to be removed.
            if recipient.space().await.is_ok() {
                lock(&this.registry).resume(recipient.id(), OWED_AT_ONCE);
                this.has_work.notify_one();
            }
        });
    }

    /// Looks at a batch. What cannot be read now is looked at again; a room of which something
    /// that is stored is not valid is left out until it changes again, and harms no other.
    async fn look_at_all(&self, batch: Batch) {
        let mut batches = vec![batch];
        while let Some(batch) = batches.pop() {
            let Err(error) = self.look_at(&batch).await else {
                continue;
            };
            match (error, batch.rooms.as_slice()) {
                (StorageError::Corrupt(error), [room]) => {
                    tracing::warn!(error = %one_line(&*error), %room, "a watched room cannot be read");
                }
                (StorageError::Corrupt(_), _) => batches.extend(batch.split()),
                (error, _) => {
                    tracing::debug!(error = %one_line(&error), "watched rooms cannot be read");
                    lock(&self.registry).put_back(&batch);
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Reads the summaries of a batch and tells what is new.
    async fn look_at(&self, batch: &Batch) -> Result<(), StorageError> {
        let overviews = self.inbox.overviews(&batch.rooms).await?;
        let rooms: HashMap<RoomId, Room> = overviews
            .into_iter()
            .map(|overview| {
                let shared = self.encoder.shared(&overview);
                let fingerprint = self.fingerprints.hash_one(&*shared);
                let room = Room {
                    shared,
                    fingerprint,
                    overview,
                };
                (room.overview.room_id, room)
            })
            .collect();
        // After the rooms: a pointer that is ahead is cut, and looked at again.
        let views = self.inbox.views(&batch.pairs).await?;
        let found: Vec<_> = batch
            .pairs
            .iter()
            .zip(views)
            .map(|((room_id, _), view)| match (rooms.get(room_id), view) {
                (Some(room), Some(view)) => Ok((room, consistent(&room.overview, view))),
                (None, _) => Err(RemovalReason::Closed),
                (Some(_), None) => Err(RemovalReason::Removed),
            })
            .collect();
        let banned = self.banned(batch, &found).await?;
        let mut outcomes = Vec::with_capacity(found.len());
        for (place, found) in found.into_iter().enumerate() {
            outcomes.push(match found {
                Ok((room, view)) => Outcome::Member(room, view),
                Err(_) if banned.contains(&place) => Outcome::Gone(RemovalReason::Banned),
                Err(reason) => Outcome::Gone(reason),
            });
        }
        for first in (0..outcomes.len()).step_by(TURN) {
            self.tell_some(batch, &outcomes, first);
            yield_now().await;
        }
        Ok(())
    }

    /// Tells the outcomes of one turn, from this place on.
    fn tell_some(&self, batch: &Batch, outcomes: &[Outcome<'_>], first: usize) {
        let mut registry = lock(&self.registry);
        let now = self.millis();
        for (place, outcome) in outcomes.iter().enumerate().skip(first).take(TURN) {
            let (room_id, key) = (batch.pairs[place].0, batch.keys[place]);
            self.tell(&mut registry, room_id, key, *outcome, now);
        }
    }

    /// Returns the places of the users in the batch that have lost a room because they are
    /// banned.
    async fn banned(
        &self,
        batch: &Batch,
        found: &[Result<(&Room, MemberView), RemovalReason>],
    ) -> Result<Vec<usize>, StorageError> {
        let mut lost: HashMap<RoomId, Vec<usize>> = HashMap::new();
        {
            let registry = lock(&self.registry);
            for (place, found) in found.iter().enumerate() {
                let (room_id, key) = (batch.pairs[place].0, batch.keys[place]);
                if matches!(found, Err(RemovalReason::Removed)) && registry.has(key, room_id) {
                    lost.entry(room_id).or_default().push(place);
                }
            }
        }
        let mut banned = Vec::new();
        for (room_id, places) in lost {
            let users: Vec<UserId> = places.iter().map(|n| batch.pairs[*n].1.clone()).collect();
            let snapshot = self.directory.snapshot(room_id, &users).await?;
            let places = places.into_iter().zip(snapshot.users);
            banned.extend(places.filter_map(|(place, user)| user.banned.map(|_| place)));
        }
        Ok(banned)
    }

    /// Tells the connections of a user what is new in a room.
    fn tell(
        &self,
        registry: &mut Registry<R>,
        room_id: RoomId,
        key: UserKey,
        outcome: Outcome<'_>,
        now: Millis,
    ) {
        if registry.is_invalidated(room_id, key) {
            return registry.work.add(room_id, key);
        }
        let news = match outcome {
            Outcome::Member(room, view) => {
                let summary = self.fingerprint(room.fingerprint, &room.overview, view);
                registry.note_sent(key, room_id, summary)
            }
            Outcome::Gone(reason) => {
                let had = registry.take(key, room_id);
                had.then_some(SummaryEvent::Removed(reason))
            }
        };
        let Some(user) = registry.users.get_mut(&key) else {
            return;
        };
        let gone = match outcome {
            Outcome::Member(..) => None,
            Outcome::Gone(reason) => Some(reason),
        };
        let mut packets: Vec<(SummaryEvent, Bytes)> = Vec::new();
        let mut is_sent = false;
        for watching in &mut user.connections {
            if let Some(event) = watching.take_due(room_id, news, gone) {
                let packet = match packets.iter().find(|(encoded, _)| *encoded == event) {
                    Some((_, packet)) => packet.clone(),
                    None => {
                        let packet = self.encode(room_id, event, outcome);
                        packets.push((event, packet.clone()));
                        packet
                    }
                };
                match watching.recipient.give_live(&packet) {
                    LiveGive::Taken => is_sent = true,
                    LiveGive::Full => drop(watching.owed.insert(room_id, event)),
                }
            }
            self.resume_when_possible(watching);
        }
        if is_sent && let Ok(place) = user.place(room_id) {
            user.rooms[place].sent_at = now;
        }
    }

    fn encode(&self, room_id: RoomId, event: SummaryEvent, outcome: Outcome<'_>) -> Bytes {
        match (event, outcome) {
            (SummaryEvent::Removed(reason), _) | (_, Outcome::Gone(reason)) => {
                self.encoder.removed(room_id, reason)
            }
            (_, Outcome::Member(room, view)) => {
                self.encoder
                    .summary(event, &room.overview, &room.shared, view)
            }
        }
    }
}

impl<R: Recipient> Registry<R> {
    /// Returns whether what was read does not count any more.
    fn is_invalidated(&self, room_id: RoomId, key: UserKey) -> bool {
        self.invalidated_rooms.contains(&room_id) || self.invalidated.contains(&(room_id, key))
    }

    /// Returns whether the user may have to be told that it has lost the room.
    fn has(&self, key: UserKey, room_id: RoomId) -> bool {
        let user = self.users.get(&key);
        user.is_some_and(|user| user.entry(room_id).is_some() || user.owes(room_id))
    }

    /// Notes the summary that the connections of a user have from now on. Returns what is new.
    fn note_sent(&mut self, key: UserKey, room_id: RoomId, summary: u64) -> Option<SummaryEvent> {
        let user = self.users.get_mut(&key)?;
        match user.place(room_id) {
            Ok(place) => {
                let before = std::mem::replace(&mut user.rooms[place].sent, summary);
                (before != summary).then_some(SummaryEvent::Updated)
            }
            Err(_) => {
                // It may also be one that was not among the most recent ones.
                let event = match user.loaded {
                    Loaded::Part => SummaryEvent::Updated,
                    Loaded::Nothing | Loaded::All => SummaryEvent::Added,
                };
                self.insert(key, entry(room_id, summary));
                Some(event)
            }
        }
    }
}
