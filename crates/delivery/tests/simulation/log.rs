//! The log of all rooms: what is stored, changed and deleted, and reads that are slow, fail, or
//! see an older state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{
    AppendError, Appended, Changes, LogCursor, LogPage, MarkedRead, MessageRepository, ReadLimit,
    RoomPosition, RoomRepository,
};
use chat_domain::{
    Content, DisplayName, Generation, Message, MessageId, NewMessage, ReadState, RoomId, RoomState,
    RulesNumber, Seq, StorageError, Timestamp, User, UserId,
};

use crate::changes::{Changed, Past, rev};
use crate::random::Random;

/// How reads behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// They take up to five milliseconds.
    Well,
    /// They take up to this long.
    Slow(Duration),
    /// They fail.
    Fail,
    /// They fail, but for those of what has changed.
    OnlyChanges,
    /// They see the state of some earlier moment.
    Stale,
}

/// The rooms' messages.
pub(crate) struct Log {
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) rooms: BTreeMap<RoomId, Room>,
    /// All appends, changes of messages and changes of rules in their order. A cursor is a place in it.
    pub(crate) changes: Vec<RoomPosition>,
    /// The furthest cursor so far: no later read of newest positions sees an earlier state.
    furthest: usize,
    reads: Reads,
    faulty_reads: u64,
    random: Random,
}

#[derive(Default)]
pub(crate) struct Room {
    pub(crate) now: Moment,
    rules: u64,
    /// Every state that a message had since it changed first.
    pub(crate) past: BTreeMap<u64, Vec<Past>>,
    /// The last states before that, for reads that see one.
    history: VecDeque<Moment>,
}

/// The state of a room at one moment.
#[derive(Default, Clone)]
pub(crate) struct Moment {
    pub(crate) newest: u64,
    deleted: Arc<BTreeSet<u64>>,
    pub(crate) changed: Changed,
}

impl Moment {
    /// Returns whether a message is stored.
    pub(crate) fn has(&self, n: u64) -> bool {
        (1..=self.newest).contains(&n) && !self.deleted.contains(&n)
    }

    /// Returns the stored messages after a number, up to and including another.
    pub(crate) fn between(&self, after: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
        (after + 1..=to.min(self.newest)).filter(|n| !self.deleted.contains(n))
    }
}

/// How many earlier states a room keeps.
const HISTORY: usize = 20;

pub(crate) fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

/// The message with this number, as it was stored.
pub(crate) fn message(room_id: RoomId, n: u64) -> Message {
    NewMessage {
        extras: None,
        room_id,
        author: User {
            id: UserId::new("42").unwrap(),
            name: DisplayName::from_text("Ada"),
        },
        content: Content::new("hello").unwrap(),
        client_message_id: None,
        created_at: Timestamp::from_unix_millis(0),
        rules: RulesNumber::NONE,
    }
    .stored(MessageId::new(1), seq(n))
}

impl Log {
    pub(crate) fn new(random: Random) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                rooms: BTreeMap::new(),
                changes: Vec::new(),
                furthest: 0,
                reads: Reads::Well,
                faulty_reads: 0,
                random,
            }),
        })
    }

    /// Stores the room's next message and returns its number.
    pub(crate) fn append(&self, room_id: RoomId) -> u64 {
        let mut state = self.state.lock().unwrap();
        let room = state.rooms.entry(room_id).or_default();
        room.remember(room.now.clone());
        room.now.newest += 1;
        let newest = room.now.newest;
        // Only a change of rules says what they are.
        state.changes.push(RoomPosition {
            rev: rev(0),
            room_id,
            newest: seq(newest),
            rules: RulesNumber::NONE,
            generation: None,
        });
        newest
    }

    /// Changes the room's rules and returns their number.
    pub(crate) fn change_rules(&self, room_id: RoomId) -> u64 {
        let mut state = self.state.lock().unwrap();
        let room = state.rooms.entry(room_id).or_default();
        room.rules += 1;
        let rules = room.rules;
        let newest = seq(room.now.newest);
        state.changes.push(RoomPosition {
            rev: rev(0),
            room_id,
            newest,
            rules: RulesNumber::new(rules),
            generation: Some(Generation::FIRST),
        });
        rules
    }

    /// Returns the number of the room's rules.
    pub(crate) fn rules(&self, room_id: RoomId) -> u64 {
        let state = self.state.lock().unwrap();
        state.rooms.get(&room_id).map_or(0, |room| room.rules)
    }

    /// Deletes a message.
    pub(crate) fn delete(&self, room_id: RoomId, n: u64) {
        let mut state = self.state.lock().unwrap();
        let room = state.rooms.entry(room_id).or_default();
        room.remember(room.now.clone());
        Arc::make_mut(&mut room.now.deleted).insert(n);
    }

    pub(crate) fn set_reads(&self, reads: Reads) {
        self.state.lock().unwrap().reads = reads;
    }

    pub(crate) fn newest(&self, room_id: RoomId) -> u64 {
        self.now(room_id).newest
    }

    /// Returns the first stored message after a number, up to and including another.
    pub(crate) fn first_between(&self, room_id: RoomId, after: u64, to: u64) -> Option<u64> {
        self.now(room_id).between(after, to).next()
    }

    pub(crate) fn now(&self, room_id: RoomId) -> Moment {
        let state = self.state.lock().unwrap();
        let room = state.rooms.get(&room_id);
        room.map(|room| room.now.clone()).unwrap_or_default()
    }

    /// Returns how many reads have failed or seen an older state.
    pub(crate) fn faulty_reads(&self) -> u64 {
        self.state.lock().unwrap().faulty_reads
    }

    /// Begins a read; returns how it behaves and how long it takes.
    fn begin_read(&self) -> (Reads, Duration) {
        let mut state = self.state.lock().unwrap();
        let reads = state.reads;
        let is_faulty = matches!(reads, Reads::Fail | Reads::OnlyChanges | Reads::Stale);
        state.faulty_reads += u64::from(is_faulty);
        let limit = match reads {
            Reads::Slow(limit) => limit.as_micros() as u64,
            _ => 5_000,
        };
        let delay = state.random.within(0..limit);
        (reads, Duration::from_micros(delay))
    }

    /// Waits as long as a read takes; returns whether it sees an older state.
    async fn read(&self) -> Result<bool, StorageError> {
        let (reads, delay) = self.begin_read();
        tokio::time::sleep(delay).await;
        match reads {
            Reads::Well | Reads::Slow(_) | Reads::OnlyChanges => Ok(false),
            Reads::Stale => Ok(true),
            Reads::Fail => Err(StorageError::unavailable("on purpose")),
        }
    }

    /// The same for a read of particular rooms.
    pub(crate) async fn read_rooms(&self) -> Result<bool, StorageError> {
        let is_failing = self.state.lock().unwrap().reads == Reads::OnlyChanges;
        let is_stale = self.read().await?;
        match is_failing {
            true => Err(StorageError::unavailable("on purpose")),
            false => Ok(is_stale),
        }
    }

    /// Waits as long as it takes until an answer has arrived.
    pub(crate) async fn answer(&self) {
        tokio::time::sleep(Duration::from_micros(300)).await;
    }

    /// Returns the state of a room that a read sees.
    pub(crate) fn seen(&self, room_id: RoomId, is_stale: bool) -> Moment {
        let mut state = self.state.lock().unwrap();
        let State { rooms, random, .. } = &mut *state;
        let Some(room) = rooms.get(&room_id) else {
            return Moment::default();
        };
        match room.history.len() as u64 {
            moments @ 1.. if is_stale => room.history[random.within(0..moments) as usize].clone(),
            _ => room.now.clone(),
        }
    }
}

impl State {
    /// Returns the number of changes that a read of positions sees.
    fn seen_changes(&mut self, is_stale: bool) -> usize {
        let (from, to) = (self.furthest as u64, self.changes.len() as u64);
        match is_stale {
            true => self.random.within(from.saturating_sub(5)..to + 1) as usize,
            false => self.changes.len(),
        }
    }
}

/// Returns the position of each room after these changes, in the same order in every run of
/// a seed.
fn positions(changes: &[RoomPosition]) -> Vec<RoomPosition> {
    let mut positions = BTreeMap::new();
    for change in changes {
        let position = positions.entry(change.room_id).or_insert(*change);
        position.newest = position.newest.max(change.newest);
        position.rules = position.rules.max(change.rules);
        position.rev = position.rev.max(change.rev);
    }
    positions.into_values().collect()
}

impl Room {
    pub(crate) fn remember(&mut self, moment: Moment) {
        self.history.push_back(moment);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }
}

#[async_trait]
impl MessageRepository for Log {
    async fn append(&self, _: NewMessage) -> Result<Appended, AppendError> {
        unreachable!("delivery appends nothing")
    }

    async fn after(
        &self,
        room_id: RoomId,
        position: Seq,
        limit: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        // A read sees one moment, before its answer arrives.
        let is_stale = self.read_rooms().await?;
        let seen = self.seen(room_id, is_stale);
        // What a read sees of the messages that exist may be of an earlier moment; their states
        // are of the present, because pages do not say how fresh these are.
        let states = self.now(room_id).changed;
        self.answer().await;
        let mut rest = seen.between(position.get(), seen.newest);
        // Smaller pages than a database's, so that many boundaries are met.
        let messages = rest.by_ref().take(limit.messages.min(7));
        Ok(LogPage {
            messages: messages.map(|n| states.message(room_id, n)).collect(),
            has_more: rest.next().is_some(),
            newest: seq(seen.newest),
            generation: Generation::FIRST,
        })
    }

    async fn before(
        &self,
        _: RoomId,
        _: Option<Seq>,
        _: ReadLimit,
    ) -> Result<LogPage, StorageError> {
        unreachable!("delivery reads forwards")
    }
}

#[async_trait]
impl RoomRepository for Log {
    async fn newest(&self, rooms: &[RoomId]) -> Result<Vec<RoomPosition>, StorageError> {
        let is_stale = self.read_rooms().await?;
        let mut state = self.state.lock().unwrap();
        // A replica that lags does not go back behind what it has shown.
        let seen = state.seen_changes(is_stale).max(state.furthest);
        let mut positions = positions(&state.changes[..seen]);
        positions.retain(|position| rooms.contains(&position.room_id));
        Ok(positions)
    }

    async fn changed_since(&self, cursor: Option<LogCursor>) -> Result<Changes, StorageError> {
        let is_stale = self.read().await?;
        let mut state = self.state.lock().unwrap();
        let seen = state.seen_changes(is_stale);
        state.furthest = state.furthest.max(seen);
        let is_forgotten = state.random.percent(10);
        let since = cursor.filter(|_| !is_forgotten);
        let since: Option<usize> = since.map(|cursor| cursor.as_str().parse().unwrap());
        let changes = since.map(|since| positions(&state.changes[since.min(seen)..seen]));
        Ok(Changes {
            cursor: LogCursor::new(seen.to_string()),
            rooms: changes,
            members: Vec::new(),
        })
    }

    async fn read_state(&self, room_id: RoomId, _: &UserId) -> Result<RoomState, StorageError> {
        // The use case reads it from the primary: it is slow or fails, but never stale. Its
        // answer may take a while.
        let (reads, delay) = self.begin_read();
        tokio::time::sleep(delay / 2).await;
        let now = self.now(room_id);
        let newest = seq(now.newest);
        tokio::time::sleep(delay / 2).await;
        match reads {
            Reads::Fail | Reads::OnlyChanges => Err(StorageError::unavailable("on purpose")),
            _ => Ok(RoomState {
                rev: rev(now.changed.newest),
                read: ReadState {
                    newest,
                    read: Seq::START,
                },
                rules: RulesNumber::NONE,
            }),
        }
    }

    async fn mark_read(
        &self,
        _: RoomId,
        _: Generation,
        _: &UserId,
        _: Seq,
    ) -> Result<Option<MarkedRead>, StorageError> {
        unreachable!("delivery moves no pointers")
    }
}
